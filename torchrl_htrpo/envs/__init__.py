"""Tasks: a goal, and what "reached" means."""

from importlib import import_module
from typing import TYPE_CHECKING

from torchrl_htrpo.envs.bit_flip import BitFlipEnv
from torchrl_htrpo.envs.goal import GoalTask, Within, same

if TYPE_CHECKING:
    from torchrl_htrpo.envs.factory import make_goal_env
    from torchrl_htrpo.envs.fetch import FetchEnv

__all__ = ["BitFlipEnv", "FetchEnv", "GoalTask", "Within", "make_goal_env", "same"]

# These need mujoco (the extra `robotics`), which the rest of the library must not: they load when asked for.
_LAZY = {"FetchEnv": "fetch", "make_goal_env": "factory"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
