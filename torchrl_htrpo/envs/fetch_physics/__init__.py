"""Batched physics of the Fetch tasks: model, random starts and goals, observations, and the engines."""

from __future__ import annotations

from torchrl_htrpo.envs.fetch_physics.control import (
    ControlName,
    ControlScheme,
    DisplacementControl,
    GripperControl,
    VelocityControl,
    make_control,
)
from torchrl_htrpo.envs.fetch_physics.draws import draw_goals, draw_objects
from torchrl_htrpo.envs.fetch_physics.engine import CapacityError, DivergedError, Engine
from torchrl_htrpo.envs.fetch_physics.engines import EngineName, make_engine
from torchrl_htrpo.envs.fetch_physics.model import FetchModel, load_model
from torchrl_htrpo.envs.fetch_physics.mujoco_engine import MujocoEngine
from torchrl_htrpo.envs.fetch_physics.observation import Kinematics, euler_angles, observe
from torchrl_htrpo.envs.fetch_physics.streams import uniform
from torchrl_htrpo.envs.fetch_physics.tasks import TASK_NAMES, TASKS, FetchTask, TaskName

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
