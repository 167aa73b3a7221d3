"""Results of trust-region steps, with advice for refused steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class StepStatus(Enum):
    """Status of a step; the value of a member describes it and gives advice."""

    ACCEPTED = "The step was taken."
    NO_ROWS = "No row carries weight: nothing to learn from this batch. Collect another; check the goals and the mask."
    ZERO_GRADIENT = "The gradient is zero: no advantage differs. Collect more, or check the reward."
    NON_FINITE = "A value, gradient or curvature is not finite. Check observations, rewards and log-probabilities."
    INDEFINITE = "The curvature is not positive along the gradient. Use QKL, or more damping."
    NO_GAIN = "No trial gained enough. Collect more data, use a smaller radius or more damping."
    OUT_OF_REGION = "Every trial left the trust region. Use more rows for the curvature, or more damping."


@dataclass(frozen=True)
class StepResult:
    """Result of a trust-region step.

    Args:
        status: what happened; ``status.value`` gives advice.
        cg_iterations: products with the curvature.
        cg_residual: relative residual of conjugate gradients.
        expected_gain: gain to first order of the full step.
        gain: gain of the surrogate.
        divergence_before: divergence before the step (0 for QKL on its own batch).
        divergence: divergence after the step.
        step_fraction: accepted fraction of the full step (0 if none).
        step_norm: Euclidean length of the change of the parameters.
        damping: damping used, absolute.
        trials: points evaluated by the line search.
        radius: of the trust region; 0 without one.
    """

    status: StepStatus
    cg_iterations: int = 0
    cg_residual: float = 0.0
    expected_gain: float = 0.0
    gain: float = 0.0
    divergence_before: float = 0.0
    divergence: float = 0.0
    step_fraction: float = 0.0
    step_norm: float = 0.0
    damping: float = 0.0
    trials: int = 0
    radius: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the parameters changed."""
        return self.status is StepStatus.ACCEPTED

    def metrics(self) -> dict[str, float]:
        """All results as a dictionary for a logger; ``accepted`` is 0 or 1."""
        figures = {key: float(value) for key, value in asdict(self).items() if key != "status"}
        return {"accepted": float(self.accepted), **figures}
