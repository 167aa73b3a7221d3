"""A wall with two ways around it: a task on which the mean of two good actions is a bad action."""

from __future__ import annotations

import torch
from torch import Tensor
from torchrl.data import Bounded

from torchrl_htrpo._errors import number
from torchrl_htrpo.envs.goal import WithinDistance
from torchrl_htrpo.envs.toy.position_goal import PositionGoalEnv


class DetourEnv(PositionGoalEnv):
    """Walk in the plane from (-0.4, 0) to a goal behind a wall, around it on the left or the right.

    The wall is the segment of the line x = 0 where ``|y| <= wall``; a step that would cross it does not move. Goals are
    uniform in ``[0.2, 0.5] x [-0.1, 0.1]``, so both ways are equally long on average, and the mean of the two actions
    runs into the wall. The observation is the position, not the wall.

    Keys: those of :class:`PositionGoalEnv`, with ``action`` ``[N, 2]``: the step, in units of ``speed``, each
    coordinate clipped to [-1, 1].

    Args:
        num_envs: how many run at once (``N``).
        horizon: steps of an episode; the shortest way takes about ten at the default speed.
        wall: half the width of the wall.
        speed: longest step along an axis.
        threshold: distance at which a goal is reached.
        seed: seed of the goals.
        device: of the environment.

    Raises:
        ValueError: if ``horizon`` or ``num_envs`` is not positive.

    Example:
        >>> env = DetourEnv(num_envs=4)
        >>> env.rollout(20)["next", "achieved_goal"].shape
        torch.Size([4, 20, 2])
    """

    def __init__(
        self,
        num_envs: int = 1,
        horizon: int = 20,
        *,
        wall: float = 0.2,
        speed: float = 0.1,
        threshold: float = 0.08,
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.wall = number(self, "wall", wall, 0)
        self.speed = number(self, "speed", speed, 0, above=True)
        action = Bounded(-1, 1, shape=(2,))
        reached = WithinDistance(threshold)
        super().__init__(action, 2, 2, reached, horizon=horizon, num_envs=num_envs, seed=seed, device=device)

    def sample_start_and_goal(self) -> tuple[Tensor, Tensor]:
        """See :meth:`PositionGoalEnv.sample_start_and_goal`."""
        noise = self.uniform(2)
        goal = torch.stack((0.35 + 0.15 * noise[:, 0], 0.1 * noise[:, 1]), -1)
        start = torch.stack((torch.full_like(noise[:, 0], -0.4), torch.zeros_like(noise[:, 0])), -1)
        return start, goal

    def move(self, position: Tensor, action: Tensor) -> Tensor:  # type: ignore[override]
        """See :meth:`PositionGoalEnv.move`."""
        step = self.speed * action.clamp(-1, 1)
        reached = position + step
        crosses = (position[:, 0] < 0) != (reached[:, 0] < 0)
        # Intersection of the step with the line of the wall; used only where the divisor is not zero.
        share = -position[:, 0] / torch.where(crosses, step[:, 0], 1)
        height = position[:, 1] + share * step[:, 1]
        blocked = crosses & (height.abs() <= self.wall)
        return torch.where(blocked.unsqueeze(-1), position, reached)
