"""The one thing objectives hand to optimizers: a constrained problem, in pieces that add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.distributed as dist
from tensordict import TensorDictBase
from torch import Tensor

TermFn = Callable[[TensorDictBase], tuple[Tensor, Tensor]]
ResidualFn = Callable[[TensorDictBase], Tensor]


@dataclass(frozen=True)
class TrustRegionProblem:
    r"""Maximise :math:`f(\theta)` subject to :math:`D(\theta) \le \delta`, both sums over chunks of rows.

    Where :math:`D = \frac12 \sum_m c_m r_m(\theta)^2` with residuals that vanish at the current parameters, its Hessian
    there is :math:`J^\top \mathrm{diag}(c) J`, and :attr:`residuals` lets an optimizer use that. Residuals may be
    those of a subset of the rows (with ``c`` made up for it).

    Args:
        terms: functions of the parameters giving a chunk's part of :math:`(f, D)`.
        residuals: pairs of a chunk's residual function (parameters to ``[m]``) and its weights :math:`c` ``[m]``; empty
            if the divergence is not a sum of squares, and then its Hessian is used.
        process_group: processes that hold other rows of the same problem. All sums run over theirs too, so that every
            process takes the same step; each must call the same optimizer, also if it has no row.
        curvature_terms: what to take that Hessian of, such as :attr:`terms` of a subset of the rows; empty: of
            :attr:`terms`.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].square().sum() / 2)])
        >>> problem.terms[0](TensorDict(x=torch.ones(2)))
        (tensor(2.), tensor(1.))
    """

    terms: Sequence[TermFn]
    residuals: Sequence[tuple[ResidualFn, Tensor]] = ()
    process_group: dist.ProcessGroup | None = None
    curvature_terms: Sequence[TermFn] = ()

    @property
    def empty(self) -> bool:
        """Whether there are no rows; another process may have some."""
        return not self.terms and self.process_group is None

    def all_reduce_(self, *parts: Tensor) -> None:
        """Add up tensors over the processes, in place."""
        if self.process_group is not None:
            for part in parts:
                dist.all_reduce(part, group=self.process_group)
