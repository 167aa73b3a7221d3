"""Curvature of a divergence as a linear operator ``A @ v``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo.optim.gauss_newton.row_jacobian import RowJacobian, RowsMixedError, row_jacobian
from torchrl_htrpo.optim.gauss_newton.row_store import RowStore
from torchrl_htrpo.optim.problem import ResidualFn, TermFn, TrustRegionProblem


class LinearOperator(Protocol):
    """Protocol: a linear map between vectors of parameters."""

    def __matmul__(self, vector: TensorDictBase) -> TensorDictBase: ...


class GaussNewtonOperator:
    r"""The Hessian of half a weighted sum of squared residuals that are 0: :math:`J^\top \mathrm{diag}(c) J` (eq. 85).

    Positive semi-definite by construction; no double backward. The Jacobian is linearised once and serves all products
    (see :func:`~torchrl_htrpo.optim.gauss_newton.row_jacobian.row_jacobian`); chunks that do not fit in the store are
    linearised again for each product.

    Args:
        residuals: pairs of a residual function (parameters to ``[m]``) and weights ``[m]``; products add up.
        params: where to linearise.
        store: memory for the linearisation; one that is passed again is used again. Default: a new one.

    Example:
        >>> from tensordict import TensorDict
        >>> at = TensorDict(x=torch.tensor([1.0, 2.0]))
        >>> hessian = GaussNewtonOperator([(lambda p: 3 * p["x"], torch.tensor([1.0, 2.0]))], at)
        >>> (hessian @ TensorDict(x=torch.ones(2)))["x"]
        tensor([ 9., 18.])
    """

    def __init__(
        self,
        residuals: Sequence[tuple[ResidualFn, Tensor]],
        params: TensorDictBase,
        store: RowStore | None = None,
    ) -> None:
        self.params, self.residuals, self.factored = params, residuals, True
        store = store or RowStore()
        store.clear()
        self.kept = [self._first(residuals[0][0]).keep(store)] if residuals else []
        self.kept += [self._linearize(residual).keep(store) for residual, _ in residuals[1:]]

    def _first(self, residual: ResidualFn) -> RowJacobian:
        try:
            return row_jacobian(residual, self.params, check=True)
        except RowsMixedError:
            self.factored = False
            return row_jacobian(residual, self.params, factored=False)

    def _linearize(self, residual: ResidualFn) -> RowJacobian:
        return row_jacobian(residual, self.params, factored=self.factored)

    @torch.no_grad()
    def __matmul__(self, vector: TensorDictBase) -> TensorDictBase:
        total = self.params.apply(torch.zeros_like)
        for (residual, weight), kept in zip(self.residuals, self.kept, strict=True):
            jacobian = kept or self._linearize(residual)
            jacobian.pull_(weight * jacobian.push(vector), total)
        return total


class HessianOperator:
    """The Hessian of any divergence, by a JVP of its gradient; not always positive semi-definite.

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
        self.gradients = [torch.func.grad(_divergence_of(term)) for term in terms]

    def __matmul__(self, vector: TensorDictBase) -> TensorDictBase:
        products = (torch.func.jvp(gradient, (self.params,), (vector,))[1] for gradient in self.gradients)
        total = next(products)
        for product in products:
            total.add_(product)
        return total


class _SummedOperator:
    """An operator whose products are summed over the processes of a problem."""

    def __init__(self, local: LinearOperator, problem: TrustRegionProblem) -> None:
        self.local, self.problem = local, problem

    def __matmul__(self, vector: TensorDictBase) -> TensorDictBase:
        product = self.local @ vector
        self.problem.all_reduce_(*product.values(True, True))
        return product


def _divergence_of(term: TermFn) -> Callable[[TensorDictBase], Tensor]:
    return lambda params: term(params)[1]


def curvature_operator(
    problem: TrustRegionProblem, params: TensorDictBase, store: RowStore | None = None
) -> LinearOperator:
    """Create the curvature of a problem's divergence: Gauss-Newton if it has residuals, else its Hessian.

    Args:
        problem: the problem.
        params: the current parameters.
        store: memory for a Gauss-Newton operator.

    Returns:
        The operator.
    """
    least_squares = problem.residuals or not problem.terms
    operator = (
        GaussNewtonOperator(problem.residuals, params, store)
        if least_squares
        else HessianOperator(problem.curvature_terms or problem.terms, params)
    )
    return operator if problem.process_group is None else _SummedOperator(operator, problem)
