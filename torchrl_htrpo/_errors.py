"""Compose error messages: the class, the argument, the expected and the actual value."""

from __future__ import annotations

from collections.abc import Iterable

from tensordict import NestedKey, TensorDictBase
from torch import Tensor


def refusal(owner: object, argument: str, expected: str, got: object, choices: Iterable[object] = ()) -> str:
    """Compose the message of an exception.

    Args:
        owner: the object that raises, or its name.
        argument: the name of the argument or key.
        expected: the accepted values, in words.
        got: the actual value.
        choices: the accepted values, if they can be listed.

    Returns:
        The message, in one line.

    Example:
        >>> refusal("HGFGoalSampler", "num_goals", "a positive integer", 0)
        'HGFGoalSampler: num_goals must be a positive integer, got 0'
    """
    name = owner if isinstance(owner, str) else type(owner).__name__
    message = f"{name}: {argument} must be {expected}, got {got!r}"
    listed = ", ".join(repr(choice) for choice in choices)
    return f"{message} (choices: {listed})" if listed else message


def require(owner: object, tensordict: TensorDictBase, *keys: NestedKey) -> list[Tensor]:
    """Get entries of a tensordict, or raise a KeyError that names the missing one and lists the present ones.

    Args:
        owner: the object that reads the entries.
        tensordict: the input.
        *keys: keys of the entries.

    Returns:
        The entries.

    Raises:
        KeyError: if one is missing.

    Example:
        >>> from tensordict import TensorDict
        >>> require("StateValue", TensorDict(), "state")
        Traceback (most recent call last):
        KeyError: "StateValue: input must be a tensordict with the key 'state', got none"
    """
    found = [tensordict.get(key, default=None) for key in keys]
    for key, value in zip(keys, found, strict=True):
        if value is None:
            expected = f"a tensordict with the key {key!r}"
            present = list(tensordict.keys(True, True))
            name = owner if isinstance(owner, str) else type(owner).__name__
            listed = f" (there: {', '.join(map(repr, present))})" if present else ""
            raise KeyError(f"{name}: input must be {expected}, got none{listed}")
    return found
