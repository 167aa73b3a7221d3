"""The hidden gap: one of two gaps is open, and the observation does not show which."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.envs import HiddenGapEnv

LEDGE = [-0.15, 0.0]


def step(position, action, opened=1.0):
    env = HiddenGapEnv(1)
    env.open = torch.tensor([env.gap * opened])
    return env.move(torch.tensor([position]), torch.tensor([action]))[0].tolist()


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_open_gap_is_passed_and_the_closed_one_is_not(side):
    assert step(LEDGE, [1.0, 0.5 * side], side) == pytest.approx([0.15, 0.15 * side])
    assert step(LEDGE, [0.5, 0.25 * side], side) == pytest.approx([0.0, 0.075 * side], abs=1e-7)
    assert step(LEDGE, [1.0, 0.5 * side], -side) == pytest.approx(LEDGE)
    for height in (0.28, 0.72):  # the edges of the gap are at 0.3 and 0.7
        assert step(LEDGE, [1.0, height * side], side) == pytest.approx(LEDGE)


@pytest.mark.parametrize("action", [[1.0, 0.0], [0.4, 0.2], [-1.0, 0.5], [0.0, 1.0]])
def test_other_steps_from_the_ledge_do_not_move(action):
    assert step(LEDGE, action) == pytest.approx(LEDGE)


def test_behind_the_wall_steps_are_free_but_for_the_way_back():
    assert step([0.15, 0.1], [3.0, -0.5]) == pytest.approx([0.45, -0.05])
    assert step([0.15, 0.0], [-1.0, 0.5]) == pytest.approx([0.15, 0.0])


def test_goals_and_open_gaps_are_symmetric():
    env = HiddenGapEnv(4000, seed=0)
    goals = env.reset()["desired_goal"]
    assert goals[:, 0].min() >= 0.2 and goals[:, 0].max() <= 0.4 and goals[:, 1].abs().max() <= 0.15
    assert goals[:, 1].mean().abs() < 0.005 and env.open.abs().unique().item() == pytest.approx(0.075)
    assert (env.open > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert ((env.open > 0).float() - 0.5).mul(goals[:, 1]).mean().abs() < 0.005


def test_a_partial_reset_keeps_the_other_gaps():
    env = HiddenGapEnv(100, seed=0)
    state, before = env.reset(), env.open.clone()
    mask = torch.arange(100).unsqueeze(-1) < 50
    env.reset(state.set("_reset", mask))
    assert torch.equal(env.open[50:], before[50:]) and not torch.equal(env.open[:50], before[:50])


def test_the_observation_does_not_show_the_open_gap():
    one, two = HiddenGapEnv(50, seed=0), HiddenGapEnv(50, seed=0)
    first, second = one.reset(), two.reset()
    two.open = -one.open
    assert (first == second).all()
    wall = torch.tensor([1.0, 0.0]).expand(50, 2)
    assert (one.step(first.set("action", wall)) == two.step(second.set("action", wall))).all()


@pytest.mark.parametrize(("kind", "low", "high"), [("one gap", 0.4, 0.6), ("both", 0.97, 1.0), ("the mean", 0.0, 0.0)])
def test_a_walker_without_memory_must_try_both_gaps_at_random(kind, low, high):
    env = HiddenGapEnv(400, seed=0)
    coin = {"one gap": lambda: 1.0, "both": lambda: 2.0 * (torch.rand(400) < 0.5) - 1, "the mean": lambda: 0.0}[kind]

    def walker(td: TensorDict) -> TensorDict:
        position = td["achieved_goal"]
        leap = torch.stack((torch.ones(400), 0.5 * coin() * torch.ones(400)), -1)
        on = (td["desired_goal"] - position) / env.speed
        return td.set("action", torch.where(position[:, :1] < 0, leap, on))

    success = env.task().success(env.rollout(8, walker)).any(-1).float().mean().item()
    assert low <= success <= high


@pytest.mark.gpu
def test_it_runs_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert HiddenGapEnv(4, seed=0, device="cuda").rollout(8)["achieved_goal"].device.type == "cuda"


def test_it_can_be_moved_to_another_device(device):
    env = HiddenGapEnv(4, seed=0).to(device)
    assert env.reset()["desired_goal"].device.type == device.type and env.open.device.type == device.type
    assert env.rollout(8).device.type == device.type
