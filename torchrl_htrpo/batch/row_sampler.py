"""Sample a budget of rows from a weighted batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import count, number, require_shape
from torchrl_htrpo.batch.mask import validity
from torchrl_htrpo.batch.rows import unravel
from torchrl_htrpo.batch.transform import BatchTransform
from torchrl_htrpo.checks import may_wait

PriorityFn = Callable[[TensorDictBase], Tensor]


def contribution(tensordict: TensorDictBase) -> Tensor:
    """Contribution of each row to the gradient: ``|w A|`` ``[*B]``."""
    return (tensordict.get("importance_weight") * tensordict.get("advantage").squeeze(-1)).abs()


def weight_share(tensordict: TensorDictBase) -> Tensor:
    """Weight of each row in the divergence: ``w`` ``[*B]``."""
    return tensordict.get("importance_weight")


class RowSampler(BatchTransform):
    r"""Draw rows of a weighted batch so that weighted sums over them are unbiased.

    Row :math:`m` is drawn with probability :math:`p_m`, proportional to a priority mixed with a uniform share, and its
    weight becomes :math:`c_m / (M p_m)`. Draws are systematic (one uniform offset), so a row expected :math:`k` times
    is drawn at least :math:`\lfloor k \rfloor` times: rare rows with a large contribution are never lost. If at most
    :math:`M` rows are live, each is taken once, with its weight; without device synchronisation
    (:func:`~torchrl_htrpo.checks.set_checks`), masked rows fill up the :math:`M`.

    Args:
        num_rows: rows to draw (``M``); ``None`` takes every live row once, with its weight.
        priority: ``[*B] -> [*B]``, not negative; see :func:`contribution` and :func:`weight_share`. Unused if
            ``uniform_share`` is 1.
        uniform_share: share of the probability spread evenly over live rows; bounds the largest new weight.

    Raises:
        ValueError: if ``num_rows`` is not positive or ``uniform_share`` outside [0, 1], or if a weight or an advantage
            of a live row is not finite (a check of values: :func:`~torchrl_htrpo.checks.set_checks`).

    Example:
        >>> from tensordict import TensorDict
        >>> batch = TensorDict(importance_weight=torch.rand(2, 50), advantage=torch.randn(2, 50, 1), batch_size=[2, 50])
        >>> RowSampler(num_rows=16)(batch).shape
        torch.Size([16])
    """

    def __init__(
        self,
        num_rows: int | None = None,
        *,
        priority: PriorityFn = contribution,
        uniform_share: float = 0.2,
        generator: torch.Generator | None = None,
    ) -> None:
        if num_rows is not None:
            count(self, "num_rows", num_rows)
        number(self, "uniform_share", uniform_share, 0, 1)
        judged = ["advantage"] if priority is contribution and uniform_share < 1 else []
        super().__init__(in_keys=["importance_weight", *judged], out_keys=["importance_weight"])
        self.num_rows, self.priority = num_rows, priority
        self.uniform_share, self.generator = uniform_share, generator

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Draw rows ``[M]`` of a batch ``[*B]``."""
        return next(self.draws(tensordict, 1))

    @torch.no_grad()
    def draws(self, tensordict: TensorDictBase, count: int) -> Iterator[TensorDictBase]:
        """Draw rows ``[M]`` of a batch ``[*B]`` several times, such as the minibatches of a critic.

        Equivalent to ``count`` calls, but the batch is checked and its probabilities are summed only once.

        Args:
            tensordict: the batch; do not change it between draws.
            count: number of draws.

        Yields:
            The rows of each draw.
        """
        sums, live = self.sums(tensordict), validity(tensordict)
        waits = may_wait(live.device)
        if self.num_rows is None or (waits and int(sums[0]) <= self.num_rows):
            rows = tensordict[live.nonzero(as_tuple=True)]
            yield from (rows.copy() for _ in range(count))
            return
        probability = self.probability(tensordict, sums).reshape(-1)
        edges, live_first = probability.cumsum(0), None if waits else _live_first(live)
        for _ in range(count):
            yield self._draw(tensordict, probability, edges, live_first)

    def _draw(
        self, tensordict: TensorDictBase, probability: Tensor, edges: Tensor, live_first: tuple[Tensor, Tensor] | None
    ) -> TensorDictBase:
        num_rows = min(self.num_rows or len(edges), len(edges))
        # right=True: a value on an edge selects the next row, so rows of probability 0 are never drawn.
        index = torch.searchsorted(edges, self.ticks(num_rows, edges.device), right=True).clamp_max(len(edges) - 1)
        scale = row_scale(probability[index], num_rows)
        if live_first is not None:
            order, live = (values[:num_rows] for values in live_first)
            few = live_first[1].sum() <= num_rows
            index, scale = torch.where(few, order, index), torch.where(few, live.to(scale), scale)
        return rescale(tensordict[unravel(index, tensordict.batch_size)], scale)

    def sums(self, tensordict: TensorDictBase) -> Tensor:
        """Number of live rows and their total priority ``[2]``, in float64; those of parts of a batch add up."""
        inputs, live = self._require(tensordict, *self.in_keys), validity(tensordict)
        require_shape(self, tensordict, [], "importance_weight")
        require_shape(self, tensordict, [1], *self.in_keys[1:])
        for key, values in zip(self.in_keys, inputs, strict=True):
            self._refuse_non_finite(key, values, live)
        count = live.sum().double()
        total = torch.zeros_like(count) if self.uniform_share == 1 else self._priority(tensordict, live).sum()
        return torch.stack((count, total))

    def probability(self, tensordict: TensorDictBase, sums: Tensor) -> Tensor:
        """Probability of each row of a batch ``[*B]`` or of a part of it, given :meth:`sums` of the whole batch."""
        live, (count, total) = validity(tensordict), sums
        even = live.double() / count.clamp_min(1)
        if self.uniform_share == 1:
            return even
        priority = self._priority(tensordict, live)
        focused = torch.where(total > 0, priority / total.clamp_min(torch.finfo(torch.float64).tiny), even)
        return (1 - self.uniform_share) * focused + self.uniform_share * even

    def _priority(self, tensordict: TensorDictBase, live: Tensor) -> Tensor:
        return torch.where(live, self.priority(tensordict), 0).double()

    def ticks(self, count: int, device: torch.device) -> Tensor:
        """Draw ``count`` evenly spaced numbers in [0, 1), with a random offset, in float64."""
        offset = torch.rand((), generator=self.generator, device=device, dtype=torch.float64)
        return (torch.arange(count, device=device) + offset) / count


def row_scale(probability: Tensor, num_rows: int) -> Tensor:
    """Factor of the weight of each drawn row: one over how often it is expected; 0 if it is never drawn."""
    return torch.where(probability > 0, 1 / (num_rows * probability), 0)


def rescale(rows: TensorDictBase, scale: Tensor) -> TensorDictBase:
    """Multiply the weights of rows ``[M]`` by ``scale`` ``[M]``, in place."""
    weight = rows.get("importance_weight")
    return rows.set("importance_weight", torch.where(scale > 0, weight * scale.to(weight.dtype), 0))


def _live_first(live: Tensor) -> tuple[Tensor, Tensor]:
    """Flat indices of all rows, live ones first, and which of them are live, without a device synchronisation."""
    order = (~live).reshape(-1).int().argsort(stable=True)
    return order, live.reshape(-1)[order]
