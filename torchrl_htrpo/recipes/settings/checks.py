"""Range checks of a configuration."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any

from torchrl_htrpo._errors import refusal


def within(config: Any, low: float, high: float, *keys: str, above: bool = False) -> None:
    """Raise if a number, or one of a list, is outside a range; ``above`` refuses ``low`` itself too, None passes.

    Example:
        >>> from types import SimpleNamespace
        >>> within(SimpleNamespace(name="run", gamma=1.5), 0, 1, "gamma")
        Traceback (most recent call last):
        ValueError: run: gamma must be at least 0 and at most 1, got 1.5
    """
    expected = f"{'above' if above else 'at least'} {low:g}" + (f" and at most {high:g}" if high < inf else "")
    for key in keys:
        value = getattr(config, key)
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            if not (isfinite(one) and low <= one <= high and not (above and one == low)):
                raise ValueError(refusal(name_of(config), key, expected, value))


def require_that(config: Any, held: bool, key: str, expected: str) -> None:
    """Raise if a value does not fit the others."""
    if not held:
        raise ValueError(refusal(name_of(config), key, expected, getattr(config, key)))


def name_of(config: Any) -> str:
    """The name of a run, or of a part of its configuration."""
    return getattr(config, "name", type(config).__name__)
