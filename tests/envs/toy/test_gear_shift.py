"""The gear shift: only the right gear moves the car, and the ground under it is observed."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs import check_env_specs

from torchrl_htrpo.envs import GearShiftEnv


def drive(position, gear, push):
    action = TensorDict(gear=torch.tensor([gear]), push=torch.tensor([[push]]), batch_size=[1])
    return GearShiftEnv(1).move(torch.tensor([[position]]), action).item()


@pytest.mark.parametrize(
    ("position", "right"), [(0.0, 0), (0.3, 1), (0.6, 2), (0.8, 0), (-0.1, 2), (-0.3, 1), (-0.8, 2)]
)
def test_only_the_right_gear_moves(position, right):
    moved = [drive(position, gear, 0.5) for gear in range(3)]
    expected = [position + 0.05 * (gear == right) for gear in range(3)]
    assert moved == pytest.approx(expected)


def test_the_push_is_clipped_and_the_road_ends():
    assert drive(0.0, 0, 7.0) == pytest.approx(0.1) and drive(0.0, 0, -7.0) == pytest.approx(-0.1)
    assert drive(0.95, 0, 1.0) == 1.0


@pytest.mark.parametrize(
    ("control", "right", "wrong"), [("discrete", [1, 3], [2, 3]), ("continuous", [0.1, 0.5], [0.4, 0.5])]
)
def test_other_controls_mean_the_same_gear_and_push(control, right, wrong):
    env = GearShiftEnv(1, control=control)
    place = torch.tensor([[0.3]])  # where the second gear grips
    assert env.move(place, torch.tensor([right])).item() == pytest.approx(0.35)
    assert env.move(place, torch.tensor([wrong])).item() == pytest.approx(0.3)
    assert env.move(place, torch.tensor([[right[0], 4]])).item() == pytest.approx(0.4)
    check_env_specs(env, break_when_any_done="both")


def test_the_whole_range_of_a_number_is_cut_into_gears():
    env = GearShiftEnv(1, num_gears=4, control="continuous")
    gears = [
        env._gear_and_push(torch.tensor([[value, 0.0]]))[0].item() for value in (-9, -1, -0.51, -0.49, 0.49, 0.51, 9)
    ]
    assert gears == [0, 0, 0, 1, 2, 3, 3]


def test_an_unknown_control_is_refused():
    with pytest.raises(ValueError, match="GearShiftEnv: control must be one of the choices, got 'wheel'"):
        GearShiftEnv(1, control="wheel")


def test_the_position_and_the_ground_are_seen():
    batch = GearShiftEnv(50, seed=0).rollout(20)
    seen = batch["observation"]
    assert torch.equal(seen[..., :1], batch["achieved_goal"])
    assert (seen[..., 1:].sum(-1) == 1).all() and len(seen[..., 1:].argmax(-1).unique()) == 3
    patch = (batch["achieved_goal"][..., 0] / 0.25).floor().long()
    assert torch.equal(seen[..., 1:].argmax(-1), patch % 3)


def test_goals_are_on_the_road_away_from_the_start():
    goals = GearShiftEnv(4000, seed=0).reset()["desired_goal"]
    assert goals.abs().min() >= 0.25 and goals.abs().max() <= 1 and goals.mean().abs() < 0.05


def test_the_right_gears_reach_every_goal_and_one_gear_alone_does_not():
    env = GearShiftEnv(100, seed=0)

    def success(gear):
        def driver(td):
            push = (td["desired_goal"] - td["achieved_goal"]) / env.speed
            grips = env.ground(td["achieved_goal"]) if gear is None else torch.full((100,), gear)
            return td.set("action", TensorDict(gear=grips, push=push, batch_size=[100]))

        return env.task().success(env.rollout(20, driver)).any(-1).float().mean().item()

    assert success(None) == 1.0 and all(success(gear) < 0.6 for gear in range(3))


def test_more_gears_make_more_ground():
    assert GearShiftEnv(2, num_gears=5).reset()["observation"].shape == (2, 6)
