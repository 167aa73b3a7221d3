"""Confidence intervals of success rates."""

from __future__ import annotations

from torchrl_htrpo._errors import count, number


def success_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's binomial confidence interval of a success rate.

    Args:
        successes: episodes that succeeded.
        episodes: all episodes.
        confidence: of the interval.

    Returns:
        Its lower and upper end.

    Example:
        >>> low, high = success_interval(95, 100)
        >>> round(low, 2), round(high, 2)
        (0.89, 0.98)
    """
    count("success_interval", "episodes", episodes)
    count("success_interval", "successes", successes, 0)
    number("success_interval", "confidence", confidence, 0, 1, above=True)
    from scipy.stats import binomtest  # noqa: PLC0415 - takes half a second to import

    interval = binomtest(successes, episodes).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
