"""Running normalisation of observations and goals, as a part of the networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchrl_htrpo._errors import count, number
from torchrl_htrpo.distributed import Group, all_cat, all_sum, size_of

_ENOUGH = 1000  # inputs from which a scale is reliable
_FARTHEST = 50.0  # scales from the middle; inputs that are farther count as if they were there
_SAMPLE = 2**20  # numbers from which the first middle and scale are estimated


class RunningNormalizer(nn.Module):
    r"""Standardise inputs: ``clip((x - mean) / std, -c, c)``; only :meth:`update` changes the statistics.

    The statistics are buffers: saved with the policy and constant between calls of :meth:`update`. So collection, both
    log-probabilities of a goal ratio, and the policy update use the same function.

    Args:
        size: features of the input (last dimension).
        clip: bound of the standardised value, in standard deviations; ``None``: none.
        min_std: floor of the standard deviation, in the units of the input.

    Example:
        >>> normalizer = RunningNormalizer(1)
        >>> normalizer.update(torch.tensor([[1.0], [3.0]]))
        >>> normalizer(torch.tensor([[3.0]]))
        tensor([[1.]])
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, clip: float | None = 5.0, min_std: float = 1e-2) -> None:
        super().__init__()
        count(self, "size", size)
        number(self, "min_std", min_std, 0, above=True)
        if clip is not None:
            number(self, "clip", clip, 0, above=True)
        self.clip, self.min_std = clip, min_std
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``x`` ``[*B, size]``."""
        std = self.variance.sqrt().clamp_min(self.min_std)
        standard = (x - self.mean) / std
        return standard if self.clip is None else standard.clamp(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, x: Tensor, mask: Tensor | None = None, process_group: Group = None) -> None:
        """Update the statistics with new inputs (parallel variance formula, in float64).

        An input that is farther than 50 scales from the middle counts as if it were there: one of 1e8 would widen the
        statistics of its column permanently. The scale is the standard deviation of at least 1000 inputs; before that,
        in a batch of as many, the 99 % quantile of the distances from the median.

        Args:
            x: ``[*B, size]``. Inputs that are not finite are skipped: one would corrupt the statistics permanently.
            mask: booleans ``[*B]``: the inputs to use. Default: all.
            process_group: processes with other inputs; the statistics are of the inputs of all.
        """
        rows = x.reshape(-1, x.shape[-1]).double()
        counted = rows.isfinite().all(-1) if mask is None else rows.isfinite().all(-1) & mask.reshape(-1)
        counted = counted.unsqueeze(-1)
        count, old = all_sum(counted.sum(), process_group), self.count.double()
        rows = torch.where(counted, self._bounded(rows, counted, count, process_group), 0)
        total = old + count
        mean = all_sum(rows.sum(0), process_group) / count.clamp_min(1)
        squares = all_sum(((rows - mean).square() * counted).sum(0), process_group)
        shift = mean - self.mean
        pooled = (self.variance * old + squares + shift.square() * old * count / total) / total
        self.variance.copy_(torch.where(count > 0, pooled, self.variance))
        self.mean.copy_(torch.where(count > 0, self.mean + shift * count / total, self.mean))
        self.count.copy_(total)

    def _bounded(self, rows: Tensor, counted: Tensor, count: Tensor, group: Group) -> Tensor:
        sample = torch.where(counted, rows, torch.nan)[:: max(1, size_of(group) * rows.numel() // _SAMPLE)]
        known = self.count >= _ENOUGH
        if group is not None and not known:  # the same on all processes
            sample = all_cat(sample, group)
        median = sample.nanmedian(0).values
        spread = (sample - median).abs().nanquantile(0.99, dim=0)
        middle = torch.where(known, self.mean.double(), median)
        scale = torch.where(known, self.variance.double().sqrt(), spread).clamp_min(self.min_std)
        scale = torch.where(known | (count >= _ENOUGH), scale, torch.inf)
        return rows.clamp(middle - _FARTHEST * scale, middle + _FARTHEST * scale)


class GoalNormalizer(nn.Module):
    """Standardise an observation and a goal, and concatenate them; achieved and desired goals share statistics.

    Args:
        observation_size: features of the observation.
        goal_size: features of the goal.
        clip: bound of the standardised values, in standard deviations; ``None``: none.

    Example:
        >>> GoalNormalizer(10, 3)(torch.zeros(2, 10), torch.zeros(2, 3)).shape
        torch.Size([2, 13])
    """

    def __init__(self, observation_size: int, goal_size: int, clip: float | None = 5.0) -> None:
        for name, size in (("observation_size", observation_size), ("goal_size", goal_size)):
            count(self, name, size)
        if clip is not None:
            number(self, "clip", clip, 0, above=True)
        super().__init__()
        self.observation = RunningNormalizer(observation_size, clip)
        self.goal = RunningNormalizer(goal_size, clip)

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Standardise and concatenate ``observation`` ``[*B, d_o]`` and ``goal`` ``[*B, d_g]``: ``[*B, d_o + d_g]``."""
        return torch.cat((self.observation(observation), self.goal(goal)), -1)

    def update(
        self, observation: Tensor, *goals: Tensor, mask: Tensor | None = None, process_group: Group = None
    ) -> None:
        """Update the statistics with observations ``[*B, d_o]`` and goals ``[*B, d_g]`` (achieved and desired)."""
        self.observation.update(observation, mask, process_group)
        for goal in goals:
            self.goal.update(goal, mask, process_group)
