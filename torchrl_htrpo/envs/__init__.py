"""Tasks: a goal, and what "reached" means."""

from importlib import import_module
from typing import TYPE_CHECKING

from torchrl_htrpo.envs.bit_flip import BitFlipEnv
from torchrl_htrpo.envs.detour import DetourEnv
from torchrl_htrpo.envs.env_batch import EnvBatch
from torchrl_htrpo.envs.factory import make_goal_env
from torchrl_htrpo.envs.finite_guard import FiniteGuard
from torchrl_htrpo.envs.gear_shift import GearShiftEnv
from torchrl_htrpo.envs.goal import GoalTask, Within, same
from torchrl_htrpo.envs.grid_maze import GridMazeEnv
from torchrl_htrpo.envs.hidden_gap import HiddenGapEnv
from torchrl_htrpo.envs.history import with_history
from torchrl_htrpo.envs.position_goal import PositionGoalEnv
from torchrl_htrpo.envs.recorder import EnvFailure

if TYPE_CHECKING:
    from torchrl_htrpo.envs.fetch import FetchEnv
    from torchrl_htrpo.envs.ms_pacman import MsPacmanEnv

__all__ = [
    "BitFlipEnv",
    "DetourEnv",
    "EnvBatch",
    "EnvFailure",
    "FetchEnv",
    "FiniteGuard",
    "GearShiftEnv",
    "GoalTask",
    "GridMazeEnv",
    "HiddenGapEnv",
    "MsPacmanEnv",
    "PositionGoalEnv",
    "Within",
    "make_goal_env",
    "same",
    "with_history",
]


# These need an optional dependency (the extras `robotics` and `atari`), which the rest of the library must not.
_OPTIONAL = {"FetchEnv": "fetch", "MsPacmanEnv": "ms_pacman"}


def __getattr__(name: str) -> object:
    if name in _OPTIONAL:
        return getattr(import_module(f"{__name__}.{_OPTIONAL[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
