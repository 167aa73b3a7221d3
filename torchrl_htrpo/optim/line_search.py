"""Backtracking line search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torchrl_htrpo._errors import count, number, refusal


@dataclass(frozen=True)
class SearchResult:
    """Result of a line search.

    Args:
        accepted: whether any trial was good enough.
        step: the accepted fraction of the full step (0 if none).
        gain: increase of the surrogate at the last trial.
        divergence: divergence at the last trial.
        trials: points evaluated.
        worst: why the last refused trial was refused: ``"non_finite"``, ``"divergence"`` or ``"no_gain"``; empty if
            the first trial was good.
    """

    accepted: bool
    step: float
    gain: float
    divergence: float
    trials: int
    worst: str = ""


@dataclass(frozen=True)
class BacktrackingLineSearch:
    """Shorten the step until it gains enough, stays in the trust region, and is finite.

    Args:
        max_trials: points tried.
        shrink: factor between trials.
        accept_ratio: least ratio of the gain to the gain expected from the gradient.
        divergence_tolerance: the divergence may exceed the radius by this factor.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> search = BacktrackingLineSearch()
        >>> result = search(lambda step: (step - step**2, step**2), expected_gain=1.0, radius=0.3)
        >>> result.accepted, result.step, result.trials
        (True, 0.5, 2)
    """

    max_trials: int = 10
    shrink: float = 0.5
    accept_ratio: float = 0.1
    divergence_tolerance: float = 1.5

    def __post_init__(self) -> None:
        count(self, "max_trials", self.max_trials)
        number(self, "accept_ratio", self.accept_ratio, 0)
        number(self, "divergence_tolerance", self.divergence_tolerance, 1)
        number(self, "shrink", self.shrink)
        if not 0 < self.shrink < 1:
            raise ValueError(refusal(self, "shrink", "between 0 and 1", self.shrink))

    def __call__(
        self, evaluate: Callable[[float], tuple[float, float]], *, expected_gain: float, radius: float
    ) -> SearchResult:
        """Search along a direction.

        Args:
            evaluate: fraction of the full step to (gain, divergence).
            expected_gain: gain of the full step to first order.
            radius: the trust region.

        Returns:
            The first good trial, or the last one with ``accepted=False``.
        """
        step, worst, gain, divergence = 1.0, "", math.nan, math.nan
        for trial in range(1, self.max_trials + 1):
            gain, divergence = evaluate(step)
            refused = self._refuses(gain, divergence, step * expected_gain, radius)
            if not refused:
                return SearchResult(True, step, gain, divergence, trial, worst)
            step, worst = step * self.shrink, refused
        return SearchResult(False, 0.0, gain, divergence, self.max_trials, worst)

    def _refuses(self, gain: float, divergence: float, expected: float, radius: float) -> str:
        if not (math.isfinite(gain) and math.isfinite(divergence)):
            return "non_finite"
        if divergence > radius * self.divergence_tolerance:
            return "divergence"
        return "" if gain > 0 and gain >= self.accept_ratio * expected else "no_gain"
