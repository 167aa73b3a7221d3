"""Batched physics of the Fetch tasks: model, random starts and goals, observations, and the engines."""

from __future__ import annotations

from torchrl_htrpo.envs.fetch.control import (
    ControlName,
    ControlScheme,
    DisplacementControl,
    GripperControl,
    VelocityControl,
    make_control,
)
from torchrl_htrpo.envs.fetch.draws import draw_goals, draw_objects
from torchrl_htrpo.envs.fetch.engine import CapacityError, DivergedError, Engine
from torchrl_htrpo.envs.fetch.engines import EngineName, make_engine
from torchrl_htrpo.envs.fetch.env import FetchEnv
from torchrl_htrpo.envs.fetch.model import FetchModel, load_model
from torchrl_htrpo.envs.fetch.mujoco_engine import MujocoEngine
from torchrl_htrpo.envs.fetch.observation import Kinematics, euler_angles, observe
from torchrl_htrpo.envs.fetch.streams import uniform
from torchrl_htrpo.envs.fetch.tasks import TASK_NAMES, TASKS, FetchTask, TaskName

__all__ = [
    "TASKS",
    "TASK_NAMES",
    "CapacityError",
    "ControlName",
    "ControlScheme",
    "DisplacementControl",
    "DivergedError",
    "Engine",
    "EngineName",
    "FetchEnv",
    "FetchModel",
    "FetchTask",
    "GripperControl",
    "Kinematics",
    "MujocoEngine",
    "TaskName",
    "VelocityControl",
    "draw_goals",
    "draw_objects",
    "euler_angles",
    "load_model",
    "make_control",
    "make_engine",
    "observe",
    "uniform",
]
