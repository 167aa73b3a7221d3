"""Trust-region steps: conjugate gradients, scaling, line search."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from tensordict import TensorDictBase, is_tensor_collection

from torchrl_htrpo._errors import choice, count, flag, number, refusal
from torchrl_htrpo.optim.conjugate_gradient import CGSolution, ConjugateGradient
from torchrl_htrpo.optim.gauss_newton.curvature import curvature_operator
from torchrl_htrpo.optim.gauss_newton.row_store import RowStore
from torchrl_htrpo.optim.line_search import BacktrackingLineSearch, SearchResult
from torchrl_htrpo.optim.problem import TrustRegionProblem
from torchrl_htrpo.optim.step_result import StepResult, StepStatus
from torchrl_htrpo.optim.vectors import axpy, dot

DampingMode = Literal["relative", "absolute"]
_REFUSALS = {
    "non_finite": StepStatus.NON_FINITE,
    "divergence": StepStatus.OUT_OF_REGION,
    "no_gain": StepStatus.NO_GAIN,
}


class TrustRegionOptimizer:
    r"""Natural-gradient step inside a trust region (eqs. 83-87).

    .. math:: (H + d I)\, x = \nabla f, \qquad \theta = \tilde\theta + \alpha \sqrt{2\delta / x^\top H x}\; x

    with :math:`x` from conjugate gradients and :math:`\alpha` from a backtracking line search. A step that is refused,
    or interrupted, leaves the parameters bit for bit as they were.

    Args:
        params: the parameters, updated in place (a tensordict of leaf tensors; ``objective.trainable_params``).
        max_divergence: radius :math:`\delta`, in the units of the problem's divergence.
        damping: :math:`d`; in units of the curvature along the gradient, :math:`g^\top H g / g^\top g`, if relative.
        damping_mode: ``"relative"`` does not depend on the scale of the problem; ``"absolute"`` is the paper's.
        scale_with_damping: take :math:`x^\top (H + dI) x` for the length, as the authors' code does; the step then
            uses only part of the trust region.
        direction: the linear solver.
        search: the line search.
        cache_bytes: memory for the linearised residuals, kept from step to step (a row of a network with 3 x 256 units
            takes 6 kB); what does not fit is computed again for each product.

    Raises:
        TypeError: if ``params`` is no tensordict.
        ValueError: if ``max_divergence`` is not positive, ``damping`` negative or its mode unknown.

    Example:
        >>> from tensordict import TensorDict
        >>> params = TensorDict(x=torch.zeros(2))
        >>> problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].square().sum() / 2)])
        >>> result = TrustRegionOptimizer(params, max_divergence=0.01, damping=0.0).step(problem)
        >>> result.accepted, params["x"]
        (True, tensor([0.1000, 0.1000]))

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, D.2; `TRPO <https://arxiv.org/abs/1502.05477>`_, appendix C.
    """

    def __init__(
        self,
        params: TensorDictBase,
        max_divergence: float,
        *,
        damping: float = 1e-2,
        damping_mode: DampingMode = "relative",
        scale_with_damping: bool = False,
        direction: ConjugateGradient | None = None,
        search: BacktrackingLineSearch | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        if not is_tensor_collection(params):
            expected = "a tensordict of parameters (objective.trainable_params, TensorDict.from_module(actor))"
            raise TypeError(refusal(self, "params", expected, type(params).__name__))
        number(self, "max_divergence", max_divergence, 0, above=True)
        number(self, "damping", damping, 0)
        choice(self, "damping_mode", damping_mode, get_args(DampingMode))
        self.params, self.max_divergence = params, max_divergence
        self.damping, self.damping_mode, self.scale_with_damping = (
            damping,
            damping_mode,
            flag(self, "scale_with_damping", scale_with_damping),
        )
        self.direction, self.search = direction or ConjugateGradient(), search or BacktrackingLineSearch()
        self.store = RowStore(count(self, "cache_bytes", cache_bytes, 0))

    @classmethod
    def paper(
        cls,
        params: TensorDictBase,
        max_divergence: float = 2e-5,
        damping: float = 1e-3,
        *,
        cache_bytes: int = 1 << 30,
    ) -> TrustRegionOptimizer:
        """Create the optimizer of the paper: absolute damping, squared residual 1e-10, length with damped curvature."""
        solver = ConjugateGradient(max_iterations=10, tolerance=1e-10, relative=False)
        return cls(
            params,
            max_divergence,
            damping=damping,
            damping_mode="absolute",
            scale_with_damping=True,
            direction=solver,
            cache_bytes=cache_bytes,
        )

    def step(self, problem: TrustRegionProblem) -> StepResult:
        """Take one step on a problem; return the result, with the reason if the step was refused."""
        return replace(self._step(problem), radius=self.max_divergence)

    def _step(self, problem: TrustRegionProblem) -> StepResult:
        if problem.empty:
            return StepResult(StepStatus.NO_ROWS)
        before = self.params.data.clone()
        surrogate, divergence, gradient = problem.value_and_gradient(before)
        squared = dot(gradient, gradient).item()
        if not math.isfinite(squared) or not math.isfinite(surrogate):
            return StepResult(StepStatus.NON_FINITE)
        if squared == 0.0:
            return StepResult(StepStatus.NO_ROWS if problem.weightless else StepStatus.ZERO_GRADIENT)
        operator = curvature_operator(problem, before, self.store)
        product = operator @ gradient
        gradient_curvature = dot(gradient, product).item()
        if not math.isfinite(gradient_curvature):
            return StepResult(StepStatus.NON_FINITE)
        damping = self.damping * (abs(gradient_curvature) / squared if self.damping_mode == "relative" else 1.0)
        solution = self.direction(operator, gradient, damping=damping, first_product=product)
        step_curvature = self._curvature_along(gradient, solution, damping)
        if not (math.isfinite(step_curvature) and step_curvature > 0):
            status = StepStatus.INDEFINITE if math.isfinite(step_curvature) else StepStatus.NON_FINITE
            return StepResult(status, damping=damping, cg_iterations=solution.iterations)
        full = axpy(math.sqrt(2 * self.max_divergence / step_curvature), solution.x, before.apply(torch.zeros_like))
        expected = dot(gradient, full).item()
        found = self._search(problem, before, full, surrogate, expected)
        return self._report(found, solution, damping, expected, divergence, dot(full, full).sqrt().item())

    def _search(
        self,
        problem: TrustRegionProblem,
        before: TensorDictBase,
        full: TensorDictBase,
        surrogate: float,
        expected: float,
    ) -> SearchResult:
        def evaluate(step: float) -> tuple[float, float]:
            self.params.data.update_(axpy(step, full, before))
            value, divergence = problem.values(self.params.data)
            return value - surrogate, divergence

        accepted = False
        try:
            found = self.search(evaluate, expected_gain=expected, radius=self.max_divergence)
            accepted = found.accepted
        finally:
            if not accepted:
                self.params.data.update_(before)
        return found

    def _curvature_along(self, gradient: TensorDictBase, solution: CGSolution, damping: float) -> float:
        # x^T (H + dI) x = x^T (b - r) needs no further product with the curvature.
        damped = dot(solution.x, axpy(-1.0, solution.residual, gradient)).item()
        return damped if self.scale_with_damping else damped - damping * dot(solution.x, solution.x).item()

    def _report(
        self, found: SearchResult, solution: CGSolution, damping: float, expected: float, before: float, norm: float
    ) -> StepResult:
        return StepResult(
            status=StepStatus.ACCEPTED if found.accepted else _REFUSALS[found.worst],
            cg_iterations=solution.iterations,
            cg_residual=solution.residual_norm,
            expected_gain=expected,
            gain=found.gain if found.accepted else 0.0,
            divergence_before=before,
            divergence=found.divergence if found.accepted else before,
            step_fraction=found.step,
            step_norm=found.step * norm,
            damping=damping,
            trials=found.trials,
        )
