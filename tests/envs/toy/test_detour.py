"""The detour: the wall blocks steps that cross it, and both ways around are open and equally long."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.envs import DetourEnv


def step(position, action, **kwargs):
    env = DetourEnv(1, **kwargs)
    return env.move(torch.tensor([position]), torch.tensor([action]))[0].tolist()


def test_a_free_step_adds_the_clipped_action():
    assert step([-0.4, 0.0], [1.0, -0.5]) == pytest.approx([-0.3, -0.05])
    assert step([-0.4, 0.0], [3.0, -9.0]) == pytest.approx([-0.3, -0.1])


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_wall_stops_what_crosses_it_and_nothing_else(side):
    assert step([-0.05, 0.0], [1.0, 0.0]) == pytest.approx([-0.05, 0.0])
    assert step([0.05, 0.15 * side], [-1.0, 0.0]) == pytest.approx([0.05, 0.15 * side])  # from behind as well
    assert step([-0.05, 0.21 * side], [1.0, 0.0]) == pytest.approx([0.05, 0.21 * side])
    assert step([-0.05, 0.0], [0.4, 0.0]) == pytest.approx([-0.01, 0.0])
    # Half-way, at the line of the wall, it is at 0.17 or 0.22.
    assert step([-0.05, 0.12 * side], [1.0, side]) == pytest.approx([-0.05, 0.12 * side])
    assert step([-0.05, 0.17 * side], [1.0, side]) == pytest.approx([0.05, 0.27 * side])


def test_nobody_ever_crosses_the_wall():
    batch = DetourEnv(500, 40, seed=0).rollout(40)
    before, after = batch["achieved_goal"], batch["next", "achieved_goal"]
    crosses = (before[..., 0] < 0) != (after[..., 0] < 0)
    share = -before[..., 0] / (after[..., 0] - before[..., 0])
    height = before[..., 1] + share * (after[..., 1] - before[..., 1])
    assert crosses.sum() > 10 and (height[crosses].abs() >= 0.2 - 1e-5).all()


def test_goals_lie_behind_the_wall_within_reach_and_alike_on_both_sides():
    goals = DetourEnv(4000, seed=0).reset()["desired_goal"]
    assert goals[:, 0].min() >= 0.2 and goals[:, 0].max() <= 0.5 and goals[:, 1].abs().max() <= 0.1
    assert goals[:, 1].mean().abs() < 0.005 and goals[:, 0].std() > 0.08


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_both_ways_round_reach_every_goal_and_their_mean_does_not(side):
    env = DetourEnv(200, seed=0)

    def success(side):
        def walker(td):
            position, goal = td["achieved_goal"], td["desired_goal"]
            corner = torch.tensor([0.0, 0.25]) * torch.tensor([1.0, side])
            behind = (position[:, :1] > 0.01) | ((position - corner).norm(dim=-1, keepdim=True) < 0.06)
            ahead = torch.where(position[:, :1] > 0.01, goal, torch.tensor([0.1, 0.25 * side]))
            return td.set("action", (torch.where(behind, ahead, corner) - position) / env.speed)

        return env.task().success(env.rollout(20, walker)).any(-1).float().mean().item()

    assert success(side) == 1.0 and success(0.0) == 0.0
