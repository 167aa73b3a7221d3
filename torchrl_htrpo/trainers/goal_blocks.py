"""A relabelled batch in blocks of goals, so that its memory does not grow with the number of goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tensordict import TensorDictBase

from torchrl_htrpo._errors import count
from torchrl_htrpo.batch import Draws, RowStream
from torchrl_htrpo.batch.transform import HINDSIGHT_GOAL, HINDSIGHT_GOAL_MASK
from torchrl_htrpo.hindsight import CumulativeGoalRatio

Drawn = dict[str, Iterable[TensorDictBase]]
SumsFn = Callable[[TensorDictBase], TensorDictBase]
BatchFn = Callable[[TensorDictBase], TensorDictBase]


class GoalBlocks:
    """A relabelled batch ``[G, *B, T]`` in blocks of goals; every pass computes the blocks again.

    Nothing of the size ``[G, *B, T]`` is stored. :meth:`draw` makes two passes: one for the sums over all goals, one to
    draw the rows. So the policy and the critic are evaluated twice as often as on the whole batch.

    Args:
        batch: trajectories ``[*B, T]`` with hindsight goals ``[*B, T, G, d_g]``.
        relabel: to a relabelled block ``[g, *B, T]`` with weights from :meth:`CumulativeGoalRatio.weigh`.
        ratio: normalises the weights.
        goals: of a block (``g``).
    """

    def __init__(self, batch: TensorDictBase, relabel: BatchFn, ratio: CumulativeGoalRatio, goals: int) -> None:
        self.batch, self.relabel, self.ratio = batch, relabel, ratio
        self.goals = count(self, "goals", goals)

    def __len__(self) -> int:
        return len(range(0, self.batch.get(HINDSIGHT_GOAL).shape[-2], self.goals))

    def __iter__(self) -> Iterator[TensorDictBase]:
        for number in range(len(self)):
            part, chosen = self.batch.copy(), slice(number * self.goals, (number + 1) * self.goals)
            part.set(HINDSIGHT_GOAL, part.get(HINDSIGHT_GOAL)[..., chosen, :])
            part.set(HINDSIGHT_GOAL_MASK, part.get(HINDSIGHT_GOAL_MASK)[..., chosen])
            yield self.relabel(part)

    def draw(self, draws: Mapping[str, Draws], measure: SumsFn) -> tuple[Drawn, TensorDictBase]:
        """Draw rows, as from the whole batch; return them by name, and the sums of ``measure`` over the blocks.

        Priorities of the draws must be proportional to the weight.
        """
        fns = [self.ratio.totals, measure, *(each.sampler.sums for each in draws.values())]
        total, measured, *sums = self._sum(fns)
        streams = [RowStream(each, found) for each, found in zip(draws.values(), sums, strict=True)]
        for number, block in enumerate(self, 1):
            for stream in streams:
                stream.take(block, last=number == len(self))
        rows = [[self.ratio.normalize(part, total) for part in stream.rows()] for stream in streams]
        return dict(zip(draws, rows, strict=True)), measured

    def _sum(self, fns: Sequence[Callable[[TensorDictBase], Any]]) -> list[Any]:
        """One pass: the sum over the blocks of each function."""
        totals: list[Any] = []
        for block in self:
            found = [fn(block) for fn in fns]
            totals = [old + new for old, new in zip(totals, found, strict=True)] if totals else found
        return totals


def draw_rows(
    batch: TensorDictBase | GoalBlocks, draws: Mapping[str, Draws], measure: SumsFn
) -> tuple[Drawn, TensorDictBase]:
    """Draw rows of a relabelled batch, whole or in blocks of goals; see :meth:`GoalBlocks.draw`."""
    if isinstance(batch, GoalBlocks):
        return batch.draw(draws, measure)
    return {name: each.of(batch) for name, each in draws.items()}, measure(batch)
