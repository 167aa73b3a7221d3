"""Choose hindsight goals for each trajectory among those that it achieves itself."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo.hindsight.functional import draw_later
from torchrl_htrpo.hindsight.goal_sampler import GoalSampler
from torchrl_htrpo.hindsight.hgf_goal_sampler import RegionFn


class PerTrajectoryGoalSampler(GoalSampler):
    """Base class: each trajectory gets goals that it achieves itself, so every row must be one trajectory.

    Args:
        **kwargs: see :class:`GoalSampler`.

    Raises:
        ValueError: as :class:`GoalSampler`, and if a row holds several trajectories (checked on the CPU only).
    """

    def _valid(self, tensordict: TensorDictBase) -> Tensor:
        return self._first_trajectory(tensordict)


class FutureGoalSampler(PerTrajectoryGoalSampler):
    """Sample for each step a goal that its trajectory achieves at that step or later (HER's "future").

    Writes one goal for each step, ``("hindsight", "goal")`` ``[*B, T, 1, d_g]``, for :class:`HindsightReplay`.
    (:class:`HindsightRelabel` needs goals that are constant along a trajectory.)

    Args:
        region: prefer later achieved goals in the region of the original goals, if there are any: the filter of HGF
            (Algorithm 2) in HER. HGF uses :func:`in_box`. Default: any achieved goal.
        generator: source of randomness; default: torch's own.
        **kwargs: see :class:`GoalSampler`.

    Raises:
        ValueError: as :class:`GoalSampler`, and if a row holds several trajectories (a check of values).

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> batch = BitFlipEnv(4, num_envs=3).rollout(4)
        >>> goals = FutureGoalSampler()(batch)["hindsight", "goal"]
        >>> goals.shape, torch.equal(goals[:, -1, 0], batch["next", "achieved_goal"][:, -1])
        (torch.Size([3, 4, 1, 4]), True)

    Source: `Hindsight Experience Replay <https://arxiv.org/abs/1707.01495>`_, Section 4.5;
    `HTRPO <https://arxiv.org/abs/1907.12439>`_, Section 4.
    """

    def __init__(
        self, *, region: RegionFn | None = None, generator: torch.Generator | None = None, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.region, self.generator = region, generator

    def goals_of(self, achieved: Tensor, eligible: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`GoalSampler.goals_of`."""
        index, exists = draw_later(eligible, self.generator)
        if self.region is not None:
            inside = self.region(achieved.reshape(-1, achieved.shape[-1]), goals).reshape(eligible.shape)
            preferred, some = draw_later(eligible & inside, self.generator)
            index = torch.where(some, preferred, index)
        return _at(achieved, index).unsqueeze(-2), exists.unsqueeze(-1)


class FinalGoalSampler(PerTrajectoryGoalSampler):
    """Use the last achieved goal of each trajectory for all of its steps (HER's "final").

    Writes ``("hindsight", "goal")`` ``[*B, T, 1, d_g]``.

    Args:
        **kwargs: see :class:`GoalSampler`.

    Raises:
        ValueError: as :class:`GoalSampler`, and if a row holds several trajectories (a check of values).

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> batch = BitFlipEnv(4, num_envs=3).rollout(4)
        >>> torch.equal(FinalGoalSampler()(batch)["hindsight", "goal"][:, 0, 0], batch["next", "achieved_goal"][:, -1])
        True

    Source: `Hindsight Experience Replay <https://arxiv.org/abs/1707.01495>`_, Section 3.2.
    """

    def goals_of(self, achieved: Tensor, eligible: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`GoalSampler.goals_of`."""
        steps = torch.arange(eligible.shape[-1], device=eligible.device)
        last = torch.where(eligible, steps, 0).amax(-1, keepdim=True)
        final = _at(achieved, last).unsqueeze(-2).expand(*eligible.shape, 1, achieved.shape[-1])
        return final, eligible.any(-1, keepdim=True).expand(eligible.shape).unsqueeze(-1)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Values ``[*B, T, d]`` at steps ``[*B, S]``: ``[*B, S, d]``."""
    return values.gather(-2, index.unsqueeze(-1).expand(*index.shape, values.shape[-1]))
