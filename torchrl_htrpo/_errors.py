"""Compose error messages: the class, the argument, the expected and the actual value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, isfinite, isinf
from numbers import Integral, Real
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor


class ShapeError(ValueError):
    """An entry of a batch has another shape than the batch and the networks give it."""


def refusal(owner: object, argument: str, expected: str, got: object, choices: Iterable[object] = ()) -> str:
    """Compose the message of an exception in one line; ``owner`` is the object that raises, or its name.

    Example:
        >>> refusal("HGFGoalSampler", "num_goals", "a positive integer", 0)
        'HGFGoalSampler: num_goals must be a positive integer, got 0'
    """
    name = owner if isinstance(owner, str) else type(owner).__name__
    message = f"{name}: {argument} must be {expected}, got {got!r}"
    listed = ", ".join(repr(choice) for choice in choices)
    return f"{message} (choices: {listed})" if listed else message


def choice(owner: object, name: str, value: object, choices: Iterable[object]) -> None:
    """Raise a ValueError that lists the choices if an argument is not one of them."""
    if value not in choices:
        raise ValueError(refusal(owner, name, "one of the choices", value, choices))


def require(owner: object, tensordict: TensorDictBase, *keys: NestedKey) -> list[Tensor]:
    """Get entries of a tensordict, or raise a KeyError that names the missing one and lists the present ones."""
    found = [tensordict.get(key, default=None) for key in keys]
    for key, value in zip(keys, found, strict=True):
        if value is None:
            expected = f"a tensordict with the key {key!r}"
            present = list(tensordict.keys(True, True))
            name = owner if isinstance(owner, str) else type(owner).__name__
            listed = f" (there: {', '.join(map(repr, present))})" if present else ""
            raise KeyError(f"{name}: input must be {expected}, got none{listed}")
    return found


def require_shape(owner: object, tensordict: TensorDictBase, tail: Sequence[int], *keys: NestedKey) -> None:
    """Raise a ShapeError if an entry of a batch ``[*B]`` is not of the shape ``[*B, *tail]``; missing entries pass.

    Without this check it may broadcast: a flag ``[8]`` and a flag ``[8, 1]`` make ``[8, 8]``.
    """
    expected = [*tensordict.batch_size, *tail]
    for key in keys:
        value = tensordict.get(key, default=None)
        if value is not None and list(value.shape) != expected:
            raise ShapeError(refusal(owner, repr(key), f"of shape {expected}", list(value.shape)))


def require_flags(owner: object, tensordict: TensorDictBase, *keys: NestedKey) -> None:
    """Raise a ValueError if a flag of a batch ``[*B]`` is not a boolean ``[*B, 1]``; missing flags pass."""
    require_shape(owner, tensordict, [1], *keys)
    for key in keys:
        value = tensordict.get(key, default=None)
        if value is not None and value.dtype != torch.bool:
            raise ValueError(refusal(owner, repr(key), "of booleans", value.dtype))


def number(
    owner: object, name: str, value: float, low: float = -inf, high: float = inf, *, above: bool = False
) -> float:
    """Return a finite number in ``[low, high]``; ``above`` refuses ``low`` itself.

    Raises:
        TypeError: if it is not a number; a bool is not one.
        ValueError: if it is not finite, or outside its range.
    """
    expected = _range(low, high, above)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(refusal(owner, name, expected, value))
    if not isfinite(value) or not low <= value <= high or (above and value == low):
        finite = " and finite" if isinf(value) and value == high else ""
        raise ValueError(refusal(owner, name, expected + finite, value))
    return value


def _range(low: float, high: float, above: bool) -> str:
    if high < inf:
        return f"in {'(' if above else '['}{low:g}, {high:g}]"
    if low == 0:
        return "positive" if above else "not negative"
    return f"at least {low:g}" if low > -inf else "a number"


def count(owner: object, name: str, value: int, least: int = 1) -> int:
    """Return a whole number of at least ``least``.

    Raises:
        TypeError: if it is not a number; a bool is not one.
        ValueError: if it is not whole, or too small.
    """
    expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(refusal(owner, name, expected, value))
    if not isinstance(value, Integral) or value < least:
        raise ValueError(refusal(owner, name, expected, value))
    return value


def counts(owner: object, name: str, values: Iterable[Any]) -> list[int]:
    """Check several positive integers, such as the sizes of layers; return them."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(refusal(owner, name, "a list of positive integers", values))
    return [count(owner, name, value) for value in values]


def flag(owner: object, name: str, value: bool) -> bool:
    """Check a switch, which 2, ``"no"`` and None are not; return it."""
    if not isinstance(value, bool):
        raise TypeError(refusal(owner, name, "True or False", value))
    return value
