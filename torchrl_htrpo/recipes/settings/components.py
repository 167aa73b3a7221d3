"""Dataclasses of components, for the configuration groups: fields, types and defaults come from the constructors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import field, is_dataclass, make_dataclass
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

from hydra.utils import get_object

OURS = "torchrl_htrpo"


def component(target: str, keys: str = "", *, partial: bool = True, **values: Any) -> Any:
    """Make the dataclass of a component: Hydra then checks its keys and their types.

    Args:
        target: a class or a function; ``envs.GoalTask`` is one of this library.
        keys: arguments that a configuration may set.
        partial: the recipe completes the component with sizes, parameters or the discount.
        **values: defaults that differ from the constructor's, references, and dataclasses of parts.

    Returns:
        The dataclass.

    Example:
        >>> component("modules.GaussianHead", "init_scale", min_scale=0.05)()
        GaussianHead(_target_='torchrl_htrpo.modules.GaussianHead', _partial_=True, init_scale=1.0, min_scale=0.05)
    """
    path = target if target.partition(".")[0] in ("torch", "torchrl", "hydra") else f"{OURS}.{target}"
    fields: list[tuple[str, Any, Any]] = [("_target_", str, path), *([("_partial_", bool, True)] if partial else [])]
    name = path.rpartition(".")[2]
    return make_dataclass(name, [*fields, *_fields(get_object(path), keys.split(), values)])


def _fields(made: Any, keys: list[str], values: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    arguments = inspect.signature(made, eval_str=True).parameters
    for key in dict.fromkeys([*keys, *values]):
        argument = arguments.get(key, inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=Any))
        default = values.get(key, argument.default)
        if is_dataclass(default):
            yield key, default, field(default_factory=default)  # type: ignore[arg-type]
        else:
            yield key, _type(key, argument.annotation), default


def _type(key: str, hint: Any) -> Any:
    """The type of a key that OmegaConf checks: a number, a bool, a string, or an enumeration of choices."""
    for one in (hint, *get_args(hint)):
        if get_origin(one) is Literal:
            return StrEnum(key.capitalize(), list(get_args(one)))
        if one in (int, float, bool, str):
            return one
    return Any


def parts(**heads: Any) -> Any:
    """Make the dataclass of the heads of a mixed action, by the name of the part."""
    return make_dataclass("PartHeads", [(name, head, field(default_factory=head)) for name, head in heads.items()])
