"""Range checks of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

from omegaconf import BooleanNode, DictConfig, OmegaConf

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


def require_booleans(owner: str, typed: DictConfig, values: Mapping[str, Any]) -> None:
    """Raise if a switch has a value that is not a boolean: OmegaConf takes 2 and "yes" for true.

    Args:
        owner: whose configuration it is.
        typed: the configuration, with the types of its keys.
        values: as they were given, by key (``critic.lr``); a reference passes.

    Example:
        >>> require_booleans("run", OmegaConf.create({"gif": BooleanNode(True)}), {"gif": 2})
        Traceback (most recent call last):
        ValueError: run: gif must be true or false, got 2
    """
    for key, value in values.items():
        above, _, last = key.rpartition(".")
        holder = OmegaConf.select(typed, above, throw_on_resolution_failure=False) if above else typed
        switch = isinstance(holder, DictConfig) and last in holder and isinstance(holder._get_node(last), BooleanNode)
        if switch and not isinstance(value, bool) and "${" not in str(value):
            raise ValueError(refusal(owner, key, "true or false", value))


def name_of(config: Any) -> str:
    """The name of a run, or of a part of its configuration."""
    return getattr(config, "name", type(config).__name__)
