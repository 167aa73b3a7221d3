"""Draw rows of a batch that comes in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import count
from torchrl_htrpo.batch.mask import MASK_KEY, validity
from torchrl_htrpo.batch.row_sampler import RowSampler, rescale, row_scale
from torchrl_htrpo.batch.rows import unravel


@dataclass(frozen=True)
class Draws:
    """What to draw from a batch.

    Args:
        sampler: draws the rows.
        count: number of draws.
        keys: entries of the rows, beside those that the sampler reads. Default: all.
    """

    sampler: RowSampler
    count: int = 1
    keys: Sequence[NestedKey] | None = None

    def __post_init__(self) -> None:
        count(self, "count", self.count)

    def of(self, tensordict: TensorDictBase) -> Iterator[TensorDictBase]:
        """Draw from a whole batch ``[*B]``; yield the rows ``[M]`` of each draw."""
        yield from self.sampler.draws(self.select(tensordict), self.count)

    def select(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The entries of the rows."""
        if self.keys is None:
            return tensordict
        mask = [] if tensordict.get(MASK_KEY, default=None) is None else [MASK_KEY]
        return tensordict.select(*self.keys, *self.sampler.in_keys, *mask)


class RowStream:
    """Draw the same rows and weights as :class:`RowSampler`, from a batch that comes in parts.

    Keeps only the drawn rows. Synchronises with the device.

    Args:
        draws: what to draw.
        sums: :meth:`RowSampler.sums` of the whole batch ``[2]``.

    Example:
        >>> from tensordict import TensorDict
        >>> batch = TensorDict(importance_weight=torch.rand(4, 50), advantage=torch.randn(4, 50, 1), batch_size=[4, 50])
        >>> sampler = RowSampler(16)
        >>> stream = RowStream(Draws(sampler), sampler.sums(batch))
        >>> for part in batch.split(2):
        ...     stream.take(part, last=False)
        >>> stream.rows()[0].shape
        torch.Size([16])
    """

    def __init__(self, draws: Draws, sums: Tensor) -> None:
        self.draws, self.sums = draws, sums
        self.num_rows = draws.sampler.num_rows or 0
        self.every = not self.num_rows or int(sums[0]) <= self.num_rows  # each live row once
        self.edge = sums.new_zeros(1)
        count = 0 if self.every else draws.count
        self.ticks = [draws.sampler.ticks(self.num_rows, sums.device) for _ in range(count)]
        self.parts: list[TensorDictBase] = []
        self.places: list[Tensor] = []

    def take(self, part: TensorDictBase, last: bool) -> None:
        """Draw the rows that lie in the next part ``[*B]``; ``last`` tells whether it is the last."""
        if self.every:
            self.parts.append(self.draws.select(part)[validity(part).nonzero(as_tuple=True)])
            return
        probability = self.draws.sampler.probability(part, self.sums).reshape(-1)
        edges = torch.cat((self.edge, probability)).cumsum(0)
        ticks = torch.cat(self.ticks)
        here = (ticks >= self.edge) & ((ticks < edges[-1]) | last)
        self.edge, place = edges[-1:], here.nonzero().squeeze(-1)
        index = torch.searchsorted(edges[1:], ticks[place], right=True).clamp_max(len(probability) - 1)
        rows = self.draws.select(part)[unravel(index, part.batch_size)]
        self.parts.append(rescale(rows, row_scale(probability[index], self.num_rows)))
        self.places.append(place)

    def rows(self) -> list[TensorDictBase]:
        """The rows ``[M]`` of each draw."""
        drawn = TensorDict.cat(self.parts)
        if self.every:
            return [drawn.copy() for _ in range(self.draws.count)]
        return list(drawn[torch.cat(self.places).argsort()].split(self.num_rows))
