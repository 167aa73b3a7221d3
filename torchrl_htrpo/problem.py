"""The one thing objectives hand to optimizers: a constrained problem, in pieces that add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].square().sum() / 2)])
        >>> problem.terms[0](TensorDict(x=torch.ones(2)))
        (tensor(2.), tensor(1.))
    """

    terms: Sequence[TermFn]
    residuals: Sequence[tuple[ResidualFn, Tensor]] = ()
