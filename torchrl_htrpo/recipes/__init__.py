"""The recipes: HTRPO, HER, TRPO and the evaluation of a trained policy, from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchrl_htrpo.recipes.evaluate import load_policy

__all__ = ["load_policy"]


def __getattr__(name: str) -> object:
    # The recipes import Hydra, so import them on first access.
    if name == "load_policy":
        from torchrl_htrpo.recipes.evaluate import load_policy  # noqa: PLC0415

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
