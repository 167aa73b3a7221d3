"""Conjugate gradients with a linear operator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import count, flag, number
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.optim.gauss_newton.curvature import LinearOperator
from torchrl_htrpo.optim.vectors import axpy, dot


@dataclass(frozen=True)
class CGSolution:
    """Solution of conjugate gradients.

    Args:
        x: the (approximate) solution of ``(A + damping I) x = b``.
        residual: ``b - (A + damping I) x``.
        iterations: products used.
        residual_norm: ``|residual| / |b|``.
        indefinite: whether the iteration stopped at a direction without positive curvature.
    """

    x: TensorDictBase
    residual: TensorDictBase
    iterations: int
    residual_norm: float
    indefinite: bool


@dataclass(frozen=True)
class ConjugateGradient:
    r"""Solve :math:`(A + d I) x = b` for a symmetric positive semi-definite operator :math:`A`.

    Args:
        max_iterations: largest number of products with the operator.
        tolerance: stop when the residual is below it.
        relative: the tolerance is of :math:`|r| / |b|`; otherwise of :math:`|r|^2` (the authors' code: 1e-10).

    Raises:
        ValueError: if ``max_iterations`` is not positive or ``tolerance`` negative.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl_htrpo.optim import GaussNewtonOperator
        >>> at = TensorDict(x=torch.zeros(2))
        >>> operator = GaussNewtonOperator([(lambda p: p["x"], torch.tensor([1.0, 4.0]))], at)
        >>> ConjugateGradient()(operator, TensorDict(x=torch.tensor([1.0, 1.0]))).x["x"]
        tensor([1.0000, 0.2500])

    Source: `Trust Region Policy Optimization <https://arxiv.org/abs/1502.05477>`_, appendix C.
    """

    max_iterations: int = 10
    tolerance: float = 1e-3
    relative: bool = True

    def __post_init__(self) -> None:
        count(self, "max_iterations", self.max_iterations)
        number(self, "tolerance", self.tolerance, 0)
        flag(self, "relative", self.relative)

    def __call__(
        self,
        operator: LinearOperator,
        b: TensorDictBase,
        *,
        damping: Tensor | float = 0.0,
        first_product: TensorDictBase | None = None,
    ) -> CGSolution:
        """Run the iteration.

        Args:
            operator: :math:`A`.
            b: the right-hand side.
            damping: :math:`d`.
            first_product: :math:`A b`, if it is known already.

        Returns:
            The solution and how it was reached.
        """
        x, residual, direction = b.apply(torch.zeros_like), b.clone(), b.clone()
        squared = squared_b = dot(b, b)
        active, used = torch.ones_like(squared, dtype=torch.bool), torch.zeros_like(squared)
        indefinite = torch.zeros_like(active)
        for iteration in range(self.max_iterations):
            known = first_product if iteration == 0 else None
            product = axpy(damping, direction, known if known is not None else operator @ direction)
            curvature = dot(direction, product)
            indefinite = indefinite | (active & ~(curvature > 0))
            active = active & (curvature > 0)
            alpha, used = squared / curvature, used + active
            x, residual = _move(active, alpha, direction, x), _move(active, -alpha, product, residual)
            previous, squared = squared, torch.where(active, dot(residual, residual), squared)
            active = active & ~self._solved(squared, squared_b)
            if may_wait(active.device) and not active:
                break
            direction = _move(active, squared / previous, direction, residual)
        norm = torch.where(squared_b > 0, squared / squared_b, 0).sqrt()
        count, relative_norm, negative = torch.stack((used, norm, indefinite.to(norm))).tolist()
        return CGSolution(x, residual, int(count), relative_norm, bool(negative))

    def _solved(self, squared: Tensor, squared_b: Tensor) -> Tensor:
        return squared <= (self.tolerance**2 * squared_b if self.relative else self.tolerance)


def _move(active: Tensor, scale: Tensor, x: TensorDictBase, y: TensorDictBase) -> TensorDictBase:
    """``scale * x + y`` while active, else ``y``."""
    return y.apply(lambda b, a: torch.where(active, b + a * scale.to(b), b), x)
