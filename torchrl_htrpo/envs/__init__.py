"""Tasks: a goal, and what "reached" means."""

from typing import TYPE_CHECKING

from torchrl_htrpo.envs.bit_flip import BitFlipEnv
from torchrl_htrpo.envs.detour import DetourEnv
from torchrl_htrpo.envs.env_batch import EnvBatch
from torchrl_htrpo.envs.factory import make_goal_env
from torchrl_htrpo.envs.gear_shift import GearShiftEnv
from torchrl_htrpo.envs.goal import GoalTask, Within, same
from torchrl_htrpo.envs.grid_maze import GridMazeEnv
from torchrl_htrpo.envs.position_goal import PositionGoalEnv
from torchrl_htrpo.envs.recorder import EnvFailure

if TYPE_CHECKING:
    from torchrl_htrpo.envs.fetch import FetchEnv

__all__ = [
    "BitFlipEnv",
    "DetourEnv",
    "EnvBatch",
    "EnvFailure",
    "FetchEnv",
    "GearShiftEnv",
    "GoalTask",
    "GridMazeEnv",
    "PositionGoalEnv",
    "Within",
    "make_goal_env",
    "same",
]


def __getattr__(name: str) -> object:
    # FetchEnv needs mujoco (the extra `robotics`), which the rest of the library must not.
    if name == "FetchEnv":
        from torchrl_htrpo.envs.fetch import FetchEnv  # noqa: PLC0415

        return FetchEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
