"""A road that needs the right gear and the right push: a task with a discrete and continuous action."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, MultiCategorical

from torchrl_htrpo._errors import choice, count, number
from torchrl_htrpo.envs.goal import WithinDistance
from torchrl_htrpo.envs.toy.position_goal import PositionGoalEnv

GearControl = Literal["mixed", "discrete", "continuous"]

_PATCH = 0.25
_PUSHES = 5  # choices of discrete control, from -1 to 1


class GearShiftEnv(PositionGoalEnv):
    """Drive along a line from 0 to a goal in [-1, 1]; the ground changes every 0.25, and each kind needs its own gear.

    In the wrong gear the car does not move. The ground under the car is observed (one-hot), the ground ahead is not.
    Goals are at least 0.25 away from the start.

    Keys: those of :class:`PositionGoalEnv`, with ``("action", "gear")`` ``[N]`` (an index) and ``("action", "push")``
    ``[N, 1]`` (the step, in units of ``speed``, clipped to [-1, 1]); or, for policies without mixed actions,
    ``action`` ``[N, 2]``: the indices of the gear and of one of five pushes (``control="discrete"``), or two numbers in
    [-1, 1], the first of which is cut into equal parts, a gear each (``control="continuous"``).

    Args:
        num_envs: how many run at once (``N``).
        horizon: steps of an episode; the farthest goal takes ten at the default speed.
        num_gears: gears, and kinds of ground.
        control: ``"mixed"``, ``"discrete"`` or ``"continuous"``.
        speed: longest step.
        threshold: distance at which a goal is reached.
        seed: seed of the goals.
        device: of the environment.

    Raises:
        ValueError: if ``horizon`` or ``num_envs`` is not positive, or the control unknown.

    Example:
        >>> env = GearShiftEnv(num_envs=4)
        >>> env.rollout(20)["action", "gear"].shape
        torch.Size([4, 20])
    """

    def __init__(
        self,
        num_envs: int = 1,
        horizon: int = 20,
        *,
        num_gears: int = 3,
        control: GearControl = "mixed",
        speed: float = 0.1,
        threshold: float = 0.03,
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        choice(self, "control", control, get_args(GearControl))
        self.num_gears, self.control = count(self, "num_gears", num_gears), control
        self.speed = number(self, "speed", speed, 0, above=True)
        specs = {
            "mixed": Composite(gear=Categorical(num_gears), push=Bounded(-1, 1, shape=(1,))),
            "discrete": MultiCategorical([num_gears, _PUSHES]),
            "continuous": Bounded(-1, 1, shape=(2,)),
        }
        sizes, reached = (1 + num_gears, 1), WithinDistance(threshold)
        super().__init__(specs[control], *sizes, reached, horizon=horizon, num_envs=num_envs, seed=seed, device=device)

    def ground(self, position: Tensor) -> Tensor:
        """Index of the gear that works at positions ``[N, 1]``: ``[N]``."""
        return (position.squeeze(-1) / _PATCH).floor().remainder(self.num_gears).long()

    def sample_start_and_goal(self) -> tuple[Tensor, Tensor]:
        """See :meth:`PositionGoalEnv.sample_start_and_goal`."""
        noise = self.uniform(1)
        return torch.zeros_like(noise), torch.where(noise < 0, -1, 1) * (_PATCH + (1 - _PATCH) * noise.abs())

    def move(self, position: Tensor, action: Tensor | TensorDictBase) -> Tensor:
        """See :meth:`PositionGoalEnv.move`."""
        gear, push = self._gear_and_push(action)
        grips = (gear == self.ground(position)).unsqueeze(-1)
        return (position + grips * self.speed * push.clamp(-1, 1)).clamp(-1, 1)

    def _gear_and_push(self, action: Tensor | TensorDictBase) -> tuple[Tensor, Tensor]:
        if isinstance(action, TensorDictBase):
            return action.get("gear"), action.get("push")
        if self.control == "discrete":
            return action[:, 0], action[:, 1:] * (2 / (_PUSHES - 1)) - 1
        share = (action[:, 0].clamp(-1, 1) + 1) / 2
        return (share * self.num_gears).floor().clamp_max(self.num_gears - 1).long(), action[:, 1:]

    def observe(self, position: Tensor) -> Tensor:
        """The position and the ground under it."""
        ground = torch.nn.functional.one_hot(self.ground(position), self.num_gears)
        return torch.cat((position, ground.to(position.dtype)), -1)
