"""One wording for every refusal: who refuses, which argument, what was expected, what came."""

from __future__ import annotations

from collections.abc import Iterable


def refusal(owner: object, argument: str, expected: str, got: object, choices: Iterable[object] = ()) -> str:
    """Compose the message of an exception.

    Args:
        owner: the object (or its name) that refuses.
        argument: the name of the argument or key.
        expected: what would have been accepted, in words.
        got: what came.
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
