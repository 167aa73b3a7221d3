"""Control schemes: translate actions into commands for the hand and the gripper."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, TensorSpec

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.envs.fetch.tasks import TaskName

ControlName = Literal["continuous", "discrete", "mixed"]
CONTROL_NAMES: tuple[str, ...] = get_args(ControlName)

_STEPS = (0.1, 1.0)  # sizes by which one action changes the velocity
_AXES = {"reach": 3, "push": 2, "slide": 2}  # x, y, and z only where the hand may leave the table


class DisplacementControl:
    """Translate actions into commands ``[N, 4]``: displacement of the hand in units of 5 cm, and the finger command.

    The action is the command. Other schemes override what differs.

    Source: `Multi-Goal Reinforcement Learning <https://arxiv.org/abs/1802.09464>`_, Section 1.1.
    """

    #: Length of what :meth:`extra` appends to the observation.
    extra_size = 0

    def __init__(self, num_envs: int, device: torch.device | None = None) -> None:
        self._nothing = torch.zeros(num_envs, 0, dtype=torch.float64, device=device)

    def action_spec(self, num_envs: int, dtype: torch.dtype, device: torch.device | None) -> TensorSpec:
        """Spec of the action: in ``[-1, 1]``, ``[N, 4]``."""
        return Bounded(-1.0, 1.0, shape=(num_envs, 4), dtype=dtype, device=device)

    def reset(self, mask: Tensor) -> None:
        """Reset the state of the masked worlds, ``[N]`` bool; this scheme has none."""

    def command(self, action: Any) -> Tensor:
        """Compute the commands ``[N, 4]`` for actions: a tensor, or a tensordict of the action's parts."""
        return action

    def extra(self) -> Tensor:
        """State ``[N, extra_size]`` that the observation must include for the task to be Markov."""
        return self._nothing


class GripperControl(DisplacementControl):
    """Mixed control: a continuous displacement of the hand and a discrete choice for the fingers.

    Keys of the action: ``motion`` ``[N, 3]`` in ``[-1, 1]``, in units of 5 cm, and ``gripper`` ``[N]``: 0 shuts the
    fingers, 1 opens them (where the task holds them shut, the choice does nothing).
    """

    def action_spec(self, num_envs: int, dtype: torch.dtype, device: torch.device | None) -> TensorSpec:
        """The two parts of the action."""
        motion = Bounded(-1.0, 1.0, shape=(num_envs, 3), dtype=dtype, device=device)
        gripper = Categorical(2, shape=(num_envs,), dtype=torch.int64, device=device)
        return Composite(motion=motion, gripper=gripper, shape=(num_envs,), device=device)

    def command(self, action: TensorDictBase) -> Tensor:
        """The displacement, and -1 or 1 for the fingers."""
        motion = action.get("motion")
        return torch.cat((motion, 2 * action.get("gripper").unsqueeze(-1).to(motion.dtype) - 1), -1)


class VelocityControl(DisplacementControl):
    """Discrete velocity-difference control: an action changes the hand's velocity along one axis.

    The velocity, in units of 5 cm per action and clipped to ``[-1, 1]``, is kept between actions and starts at
    zero; the command is the new velocity. Actions, in order: +0.1 along each axis, -0.1, +1.0, -1.0; the axes
    are x and y (8 actions, push and slide), for reach also z (12 actions). Other tasks raise a ValueError. The fingers
    stay shut, so the fourth entry of the velocity is always 0.

    Source: `Hindsight Policy Gradients <https://arxiv.org/abs/1711.06006>`_;
    `HTRPO <https://arxiv.org/abs/1907.12439>`_, F.1, Table 4.
    """

    extra_size = 4

    def __init__(self, task: TaskName, num_envs: int, device: torch.device | None = None) -> None:
        super().__init__(num_envs, device)
        if task not in _AXES:
            raise ValueError(refusal(self, "task", "a task with discrete control", task, _AXES))
        axes = torch.eye(4, dtype=torch.float64, device=device)[: _AXES[task]]
        self.changes = torch.cat([sign * size * axes for size in _STEPS for sign in (1, -1)])
        self.velocity = torch.zeros(num_envs, 4, dtype=torch.float64, device=device)

    def action_spec(self, num_envs: int, dtype: torch.dtype, device: torch.device | None) -> TensorSpec:
        """Index of the change, ``[N]`` int64."""
        return Categorical(self.changes.shape[0], shape=(num_envs,), dtype=torch.int64, device=device)

    def reset(self, mask: Tensor) -> None:
        """Set the velocity of the masked worlds (``[N]`` bool) to zero."""
        self.velocity = self.velocity.masked_fill(mask.unsqueeze(-1), 0.0)

    def command(self, action: Tensor) -> Tensor:
        """Apply the changes ``[N]`` and return the new velocity ``[N, 4]``."""
        self.velocity = (self.velocity + self.changes[action.long()]).clamp(-1.0, 1.0)
        return self.velocity

    def extra(self) -> Tensor:
        """The current velocity and (always shut) gripper, ``[N, 4]``."""
        return self.velocity


def make_control(name: ControlName, task: TaskName, num_envs: int, device: torch.device) -> DisplacementControl:
    """Create the control scheme of a task; raise a ValueError if the task has no such scheme."""
    if name not in CONTROL_NAMES:
        raise ValueError(refusal("FetchEnv", "control", "the name of a control scheme", name, CONTROL_NAMES))
    if name == "discrete":
        return VelocityControl(task, num_envs, device)
    if name == "mixed":
        return GripperControl(num_envs, device)
    return DisplacementControl(num_envs, device)
