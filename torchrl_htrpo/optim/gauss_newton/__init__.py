"""Products with the Gauss-Newton matrix of weighted residuals."""

from torchrl_htrpo.optim.gauss_newton.curvature import (
    GaussNewtonOperator,
    HessianOperator,
    LinearOperator,
    curvature_operator,
)

__all__ = [
    "GaussNewtonOperator",
    "HessianOperator",
    "LinearOperator",
    "curvature_operator",
]
