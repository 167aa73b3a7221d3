"""Small tasks in pure torch, batched on any device."""

from torchrl_htrpo.envs.toy.bit_flip import BitFlipEnv
from torchrl_htrpo.envs.toy.detour import DetourEnv
from torchrl_htrpo.envs.toy.gear_shift import GearShiftEnv
from torchrl_htrpo.envs.toy.grid_maze import GridMazeEnv
from torchrl_htrpo.envs.toy.hidden_gap import HiddenGapEnv
from torchrl_htrpo.envs.toy.position_goal import PositionGoalEnv

__all__ = [
    "BitFlipEnv",
    "DetourEnv",
    "GearShiftEnv",
    "GridMazeEnv",
    "HiddenGapEnv",
    "PositionGoalEnv",
]
