"""A wall with two gaps, one of them closed and not observed: a task that needs a stochastic policy or a memory."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import Bounded

from torchrl_htrpo._errors import number
from torchrl_htrpo.envs.goal import WithinDistance
from torchrl_htrpo.envs.toy.position_goal import PositionGoalEnv

_START = -0.15


class HiddenGapEnv(PositionGoalEnv):
    """Walk through one of two gaps in a wall to a goal behind it; one gap is closed, which is not observed.

    The walker stands on a ledge at (-0.15, 0), before a wall on the line x = 0 with gaps at y = ``gap`` and
    y = -``gap``. One of them is closed for the episode, at random. A step from the ledge through the open gap passes
    the wall; any other step from the ledge, and a step back through the wall, does not move. Goals are uniform in
    ``[0.2, 0.4] x [-0.15, 0.15]``.

    The observation is the position, not the wall nor the open gap, so it does not change on the ledge. A policy without
    memory has to try both gaps at random, and the mean of the two actions runs into the wall: a unimodal policy either
    uses one gap, and fails in half of the episodes, or covers both and mostly misses. Greedy actions fail in half of
    the episodes too, so evaluate sampled actions. A policy with a memory (:func:`with_history`) can try one gap, then
    the other.

    Keys: those of :class:`PositionGoalEnv`, with ``action`` ``[N, 2]``: the step, in units of ``speed``, each
    coordinate clipped to [-1, 1].

    Args:
        num_envs: how many run at once (``N``).
        horizon: steps of an episode; with the right gap the shortest way takes two at the default speed.
        gap: where the middle of each gap is, from straight ahead.
        width: half the width of a gap.
        speed: longest step along an axis.
        threshold: distance at which a goal is reached.
        seed: seed of the goals and of the closed gaps.
        device: of the environment.

    Raises:
        ValueError: if ``horizon`` or ``num_envs`` is not positive.

    Example:
        >>> env = HiddenGapEnv(num_envs=4)
        >>> env.rollout(8)["next", "achieved_goal"].shape
        torch.Size([4, 8, 2])
    """

    def __init__(
        self,
        num_envs: int = 1,
        horizon: int = 8,
        *,
        gap: float = 0.075,
        width: float = 0.03,
        speed: float = 0.3,
        threshold: float = 0.1,
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.gap = number(self, "gap", gap, 0)
        self.width = number(self, "width", width, 0, above=True)
        self.speed = number(self, "speed", speed, 0, above=True)
        action = Bounded(-1, 1, shape=(2,))
        reached = WithinDistance(threshold)
        super().__init__(action, 2, 2, reached, horizon=horizon, num_envs=num_envs, seed=seed, device=device)
        self.open: Tensor
        self.register_buffer("open", torch.zeros(num_envs, device=self.device), persistent=False)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        state = super()._reset(tensordict, **kwargs)
        drawn = torch.where(self.uniform(1)[:, 0] < 0, -self.gap, self.gap)
        mask = None if tensordict is None else tensordict.get("_reset", None)
        # Not an entry of the state: the gap is not observed.
        self.open = drawn if mask is None else torch.where(mask.reshape(-1), drawn, self.open)
        return state

    def sample_start_and_goal(self) -> tuple[Tensor, Tensor]:
        """See :meth:`PositionGoalEnv.sample_start_and_goal`."""
        noise = self.uniform(2)
        goal = torch.stack((0.3 + 0.1 * noise[:, 0], 0.15 * noise[:, 1]), -1)
        start = torch.stack((torch.full_like(noise[:, 0], _START), torch.zeros_like(noise[:, 0])), -1)
        return start, goal

    def move(self, position: Tensor, action: Tensor) -> Tensor:  # type: ignore[override]
        """See :meth:`PositionGoalEnv.move`."""
        step = self.speed * action.clamp(-1, 1)
        reached = position + step
        before = position[:, 0] < 0
        crosses = before & (reached[:, 0] >= 0)
        # Intersection of the step with the line of the wall; used only where the divisor is not zero.
        height = position[:, 1] - position[:, 0] / torch.where(crosses, step[:, 0], 1) * step[:, 1]
        passes = crosses & ((height - self.open).abs() <= self.width)
        free = passes | (~before & (reached[:, 0] >= 0))
        return torch.where(free.unsqueeze(-1), reached, position)
