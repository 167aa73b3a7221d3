"""Trust-region optimization; independent of reinforcement learning."""

from torchrl_htrpo.optim.conjugate_gradient import CGSolution, ConjugateGradient
from torchrl_htrpo.optim.first_order import FirstOrderOptimizer
from torchrl_htrpo.optim.gauss_newton.curvature import (
    GaussNewtonOperator,
    HessianOperator,
    LinearOperator,
    curvature_operator,
)
from torchrl_htrpo.optim.line_search import BacktrackingLineSearch, SearchResult
from torchrl_htrpo.optim.problem import TrustRegionProblem
from torchrl_htrpo.optim.step_result import StepResult, StepStatus
from torchrl_htrpo.optim.trust_region import TrustRegionOptimizer

__all__ = [
    "BacktrackingLineSearch",
    "CGSolution",
    "ConjugateGradient",
    "FirstOrderOptimizer",
    "GaussNewtonOperator",
    "HessianOperator",
    "LinearOperator",
    "SearchResult",
    "StepResult",
    "StepStatus",
    "TrustRegionOptimizer",
    "TrustRegionProblem",
    "curvature_operator",
]
