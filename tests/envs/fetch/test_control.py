"""Control schemes: discrete control keeps one velocity per world."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.envs.fetch.control import VelocityControl, make_control


@pytest.mark.parametrize(("task", "axes"), [("reach", 3), ("push", 2), ("slide", 2)])
def test_actions_are_small_then_large_changes_along_each_axis(task, axes):
    control = VelocityControl(task, 1)
    unit = torch.eye(4, dtype=torch.float64)[:axes]
    assert torch.equal(control.changes, torch.cat([0.1 * unit, -0.1 * unit, unit, -unit]))


def test_velocity_accumulates_and_is_clipped():
    control = VelocityControl("push", 2)
    control.command(torch.tensor([0, 3]))
    control.command(torch.tensor([0, 7]))
    command = control.command(torch.tensor([4, 7]))
    assert command.tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]]
    assert torch.equal(control.extra(), command)


def test_reset_stops_only_the_masked_worlds():
    control = VelocityControl("reach", 2)
    control.command(torch.tensor([6, 6]))
    control.reset(torch.tensor([True, False]))
    assert control.velocity[:, 0].tolist() == [0.0, 1.0]


def test_earlier_commands_are_not_overwritten():
    control = VelocityControl("reach", 1)
    first = control.command(torch.tensor([0]))
    control.command(torch.tensor([0]))
    assert first[0, 0] == 0.1


def test_pick_and_place_has_no_discrete_control():
    with pytest.raises(ValueError, match="VelocityControl: task .*choices: 'reach', 'push', 'slide'"):
        make_control("discrete", "pick_and_place", 1, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_choice_of_the_fingers_joins_the_displacement_of_the_hand(dtype):
    control = make_control("mixed", "pick_and_place", 2, torch.device("cpu"))
    motion = torch.tensor([[0.1, -0.2, 0.3], [1.0, 0.0, -1.0]], dtype=dtype)
    command = control.command(TensorDict(motion=motion, gripper=torch.tensor([1, 0])))
    assert command.dtype == dtype
    assert torch.equal(command[:, :3], motion) and command[:, 3].tolist() == [1.0, -1.0]
    assert control.extra().shape == (2, 0)
