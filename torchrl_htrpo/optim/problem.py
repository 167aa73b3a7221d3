"""The constrained problem that objectives pass to optimizers, as sums over chunks of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import ShapeError
from torchrl_htrpo.distributed import Group, all_sum_, largest

TermFn = Callable[[TensorDictBase], tuple[Tensor, Tensor]]
ResidualFn = Callable[[TensorDictBase], Tensor]


@dataclass(frozen=True)
class TrustRegionProblem:
    r"""Maximise :math:`f(\theta)` subject to :math:`D(\theta) \le \delta`, both sums over chunks of rows.

    If :math:`D = \frac12 \sum_m c_m r_m(\theta)^2` with residuals that are 0 at the current parameters, the Hessian of
    :math:`D` there is :math:`J^\top \mathrm{diag}(c) J`, and :attr:`residuals` gives optimizers access to it. Residuals
    may belong to a subset of the rows, with weights ``c`` that estimate the same sum.

    Args:
        terms: functions of the parameters giving a chunk's part of :math:`(f, D)`.
        residuals: pairs of a chunk's residual function (parameters to ``[m]``) and its weights :math:`c` ``[m]``. Empty
            if the divergence is not a sum of squares; optimizers then use its Hessian.
        process_group: processes that hold other rows of the same problem. All sums include their rows, so every process
            takes the same step; each must call the same optimizer, also without rows.
        curvature_terms: terms for this Hessian, such as :attr:`terms` of a subset of the rows. Empty: use
            :attr:`terms`.

    Example:
        >>> from tensordict import TensorDict
        >>> problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].square().sum() / 2)])
        >>> problem.values(TensorDict(x=torch.ones(2)))
        (2.0, 1.0)
    """

    terms: Sequence[TermFn]
    residuals: Sequence[tuple[ResidualFn, Tensor]] = ()
    process_group: Group = None
    curvature_terms: Sequence[TermFn] = ()

    @property
    def empty(self) -> bool:
        """Whether no process has rows."""
        return not largest(len(self.terms), self.process_group)

    @property
    def weightless(self) -> bool:
        """Whether there are residuals and all their weights are 0, on all processes."""
        weighted = largest(sum(bool(weight.any()) for _, weight in self.residuals), self.process_group)
        return bool(largest(len(self.residuals), self.process_group)) and not weighted

    @torch.no_grad()
    def values(self, params: TensorDictBase) -> tuple[float, float]:
        """Compute the surrogate and the divergence, as floats; NaN if a distribution refuses its parameters."""
        try:
            pairs = [torch.stack(term(params)) for term in self.terms]
        except ShapeError:
            raise
        except ValueError:
            # A distribution refuses its parameters after a step that is too long: NaN lets the line search refuse it.
            pairs = [torch.full((2,), math.nan, device=_device(params))]
        return self._total(pairs, params)

    def value_and_gradient(self, params: TensorDictBase) -> tuple[float, float, TensorDictBase]:
        """Compute the surrogate, the divergence, and the gradient of the surrogate."""
        pairs: list[Tensor] = []
        total = params.apply(torch.zeros_like)
        for term in self.terms:
            gradient, (surrogate, divergence) = torch.func.grad(_surrogate_first(term), has_aux=True)(params)
            pairs.append(torch.stack((surrogate, divergence)))
            total.add_(gradient)
        self.all_reduce_(*total.values(True, True))
        return *self._total(pairs, params), total

    def all_reduce_(self, *parts: Tensor) -> None:
        """Sum tensors over the processes, in place."""
        all_sum_(parts, self.process_group)

    def _total(self, pairs: list[Tensor], params: TensorDictBase) -> tuple[float, float]:
        total = torch.zeros(2, dtype=torch.float64, device=_device(params))
        if pairs:
            total += torch.stack(pairs).sum(0, dtype=torch.float64)
        self.all_reduce_(total)
        surrogate, divergence = total.tolist()
        return surrogate, divergence


def _surrogate_first(term: TermFn) -> Callable[[TensorDictBase], tuple[Tensor, tuple[Tensor, Tensor]]]:
    def value(params: TensorDictBase) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        surrogate, divergence = term(params)
        return surrogate, (surrogate.detach(), divergence.detach())

    return value


def _device(params: TensorDictBase) -> torch.device:
    return next(iter(params.values(True, True))).device
