"""Goal-conditioned environments, goals and rewards."""

from importlib import import_module
from typing import TYPE_CHECKING

from torchrl_htrpo._extras import named_extra as _named_extra
from torchrl_htrpo.envs.adapters.env_batch import EnvBatch
from torchrl_htrpo.envs.adapters.factory import make_goal_env
from torchrl_htrpo.envs.adapters.finite_guard import FiniteGuard
from torchrl_htrpo.envs.adapters.history import with_history
from torchrl_htrpo.envs.adapters.recorder import EnvFailure
from torchrl_htrpo.envs.goal import EqualGoals, GoalTask, WithinDistance
from torchrl_htrpo.envs.toy.bit_flip import BitFlipEnv
from torchrl_htrpo.envs.toy.detour import DetourEnv
from torchrl_htrpo.envs.toy.gear_shift import GearShiftEnv
from torchrl_htrpo.envs.toy.grid_maze import GridMazeEnv
from torchrl_htrpo.envs.toy.hidden_gap import HiddenGapEnv
from torchrl_htrpo.envs.toy.position_goal import PositionGoalEnv

if TYPE_CHECKING:
    from torchrl_htrpo.envs.fetch.env import FetchEnv as FetchEnv
    from torchrl_htrpo.envs.ms_pacman.env import MsPacmanEnv as MsPacmanEnv

__all__ = [
    "BitFlipEnv",
    "DetourEnv",
    "EnvBatch",
    "EnvFailure",
    "EqualGoals",
    "FiniteGuard",
    "GearShiftEnv",
    "GoalTask",
    "GridMazeEnv",
    "HiddenGapEnv",
    "PositionGoalEnv",
    "WithinDistance",
    "make_goal_env",
    "with_history",
]


# These need the extras `robotics` and `atari`, so import them on first access.
_OPTIONAL = {"FetchEnv": "fetch.env", "MsPacmanEnv": "ms_pacman.env"}


def __getattr__(name: str) -> object:
    if name in _OPTIONAL:
        with _named_extra(name):
            return getattr(import_module(f"{__name__}.{_OPTIONAL[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
