"""Hindsight Goal Filtering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from torchrl_htrpo._errors import choice, count, number
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.distributed import size_of
from torchrl_htrpo.hindsight.functional import filter_goals, goal_scale, in_box
from torchrl_htrpo.hindsight.goal_sampler import SharedGoalSampler

RegionFn = Callable[[Tensor, Tensor], Tensor]
Distance = Literal["euclidean", "density"]


class HGFGoalSampler(SharedGoalSampler):
    r"""Hindsight Goal Filtering: choose goals that cover the region of the original goals (Algorithm 2).

    Let :math:`G_v` be the achieved goals in the region of the original goals :math:`G_o`. If there are any, start from
    a random one and repeatedly add :math:`\arg\max_{g \in G_v} \min_{g' \in G} d(g, g')`; if there are none, take the
    achieved goals nearest to :math:`G_o`.

    Args:
        num_goals: how many to choose (``G``).
        region: ``(candidates [M, d_g], originals [K, d_g]) -> bool [M]``. Default: the box of the originals, over the
            dimensions in which they vary.
        distance: ``"euclidean"``, or ``"density"``: Euclidean after each dimension is divided by the standard deviation
            of the original goals; dimensions in which they do not vary are dropped.
        max_candidates: with several processes, how many of its achieved goals each proposes: those that this choice
            takes among its own, at least ``num_goals``. No goal in the region is then farther from a chosen one than
            four times the smallest possible radius (the mathematics page has the proof). The region must judge each
            candidate by itself. Default: all, so the choice is that of one process.
        resolution: achieved goals nearer than this to a chosen one count as the same goal; in the units of ``distance``
            (standard deviations of the original goals, or the units of the goal).
        generator: source of the random first goal; default: torch's own.
        **kwargs: see :class:`GoalSampler`.

    Raises:
        ValueError: if ``num_goals`` is not positive, ``max_candidates`` is less than that, or ``distance`` is unknown.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> batch = BitFlipEnv(4, num_envs=3).rollout(4)
        >>> HGFGoalSampler(num_goals=5)(batch)["hindsight", "goal"].shape
        torch.Size([3, 4, 5, 4])

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, Section 4 and Algorithm 2.
    """

    def __init__(
        self,
        num_goals: int,
        *,
        region: RegionFn = in_box,
        distance: Distance = "euclidean",
        max_candidates: int | None = None,
        resolution: float = 0.0,
        generator: torch.Generator | None = None,
        **kwargs: object,
    ) -> None:
        count(self, "num_goals", num_goals)
        number(self, "resolution", resolution, 0)
        choice(self, "distance", distance, get_args(Distance))
        if max_candidates is not None:
            count(self, "max_candidates", max_candidates, num_goals)
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.num_goals, self.region, self.distance = num_goals, region, distance
        self.max_candidates, self.resolution, self.generator = max_candidates, resolution, generator

    def propose(self, candidates: Tensor, valid: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`SharedGoalSampler.propose`."""
        if self.max_candidates is None or size_of(self.process_group) == 1:
            return candidates, valid
        return self._filter(candidates, valid, goals, self.max_candidates)

    def choose(self, candidates: Tensor, valid: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`SharedGoalSampler.choose`."""
        return self._filter(candidates, valid, goals, self.num_goals)

    def _filter(self, candidates: Tensor, valid: Tensor, goals: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """The choice of at most so many candidates; those that exist."""
        scale = goal_scale(goals) if self.distance == "density" else torch.ones_like(goals[0])
        inside = self.region(candidates, goals)
        # The distances of all candidates to all original goals matter only where no candidate lies in the region.
        near = goals[:1] if may_wait(goals.device) and (valid & inside).any() else goals
        index, exists = filter_goals(
            candidates,
            valid,
            near,
            min(most, len(candidates)),
            in_region=inside,
            scale=scale,
            resolution=self.resolution,
            generator=self.generator,
        )
        return candidates[index], exists
