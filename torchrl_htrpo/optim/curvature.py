"""Curvature as an operator: ``A @ v``, never a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo.problem import ResidualFn, TermFn, TrustRegionProblem


class LinearOperator(Protocol):
    """Anything that maps a vector in the space of the parameters to another, linearly."""

    def __matmul__(self, vector: TensorDictBase) -> TensorDictBase: ...


class GaussNewtonOperator:
    r"""The Hessian of a sum of squared residuals that vanish here: :math:`v \mapsto J^\top \mathrm{diag}(c) J v` (eq. 85).

    One JVP and one VJP per product, positive semi-definite by construction; no double backward. The forward pass of the
    VJP is done once and kept for all products.

    Args:
        residuals: pairs of a residual function (parameters to ``[m]``) and weights ``[m]``; products add up.
        params: where to linearise.

    Example:
        >>> from tensordict import TensorDict
        >>> at = TensorDict(x=torch.tensor([1.0, 2.0]))
        >>> hessian = GaussNewtonOperator([(lambda p: 3 * p["x"], torch.tensor([1.0, 2.0]))], at)
        >>> (hessian @ TensorDict(x=torch.ones(2)))["x"]
        tensor([ 9., 18.])
    """

    def __init__(self, residuals: Sequence[tuple[ResidualFn, Tensor]], params: TensorDictBase) -> None:
        self.params = params
        self.chunks = [(fn, weight, torch.func.vjp(fn, params)[1]) for fn, weight in residuals]

    def __matmul__(self, vector: TensorDictBase) -> TensorDictBase:
        total = None
        for fn, weight, pullback in self.chunks:
            _, tangent = torch.func.jvp(fn, (self.params,), (vector,))
            (product,) = pullback(weight * tangent)
            total = product if total is None else total.add_(product)
        return total


class HessianOperator:
    """The Hessian of any divergence, by a JVP through its gradient; need not be positive semi-definite.

    Args:
        terms: functions of the parameters whose second value is a part of the divergence.
        params: where the Hessian is taken.

    Example:
        >>> from tensordict import TensorDict
        >>> at = TensorDict(x=torch.tensor([1.0, 2.0]))
        >>> hessian = HessianOperator([lambda p: (p["x"].sum(), p["x"].pow(3).sum())], at)
        >>> (hessian @ TensorDict(x=torch.ones(2)))["x"]
        tensor([ 6., 12.])
    """

    def __init__(self, terms: Sequence[TermFn], params: TensorDictBase) -> None:
        self.params = params
        self.gradients: list[Callable[[TensorDictBase], TensorDictBase]] = [
            torch.func.grad(lambda p, term=term: term(p)[1]) for term in terms
        ]

    def __matmul__(self, vector: TensorDictBase) -> TensorDictBase:
        products = (torch.func.jvp(gradient, (self.params,), (vector,))[1] for gradient in self.gradients)
        total = next(products)
        for product in products:
            total.add_(product)
        return total


def curvature(problem: TrustRegionProblem, params: TensorDictBase) -> LinearOperator:
    """The curvature of a problem's divergence: Gauss-Newton where it has residuals, else its Hessian.

    Args:
        problem: the problem.
        params: the current parameters.

    Returns:
        The operator.
    """
    if problem.residuals:
        return GaussNewtonOperator(problem.residuals, params)
    return HessianOperator(problem.terms, params)
