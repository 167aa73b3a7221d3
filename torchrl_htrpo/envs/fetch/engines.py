"""Create physics engines by name."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from torchrl_htrpo._errors import count, refusal
from torchrl_htrpo.envs.fetch.engine import Engine
from torchrl_htrpo.envs.fetch.model import load_model
from torchrl_htrpo.envs.fetch.mujoco_engine import MujocoEngine
from torchrl_htrpo.envs.fetch.tasks import TASK_NAMES, TASKS, TaskName

EngineName = Literal["mujoco", "warp"]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)


def make_engine(
    name: EngineName | Engine,
    task: TaskName,
    num_envs: int,
    num_threads: int | None = None,
    device: torch.device | str | None = None,
) -> Engine:
    """Create the worlds of a task on an engine; for the arguments see :class:`FetchEnv`."""
    if task not in TASK_NAMES:
        raise ValueError(refusal("FetchEnv", "task", "the name of a Fetch task", task, TASK_NAMES))
    count("FetchEnv", "num_envs", num_envs)
    if num_threads is not None:
        count("FetchEnv", "num_threads", num_threads)
    if isinstance(name, Engine):
        got = (name.model.task.name, name.num_worlds)
        if got != (task, num_envs):
            raise ValueError(refusal("FetchEnv", "engine", f"of task {task!r} with {num_envs} worlds", got))
        return name
    if name == "mujoco":
        return MujocoEngine(load_model(TASKS[task]), num_envs, num_threads)
    if name != "warp":
        raise ValueError(refusal("FetchEnv", "engine", "the name of a physics engine", name, ENGINE_NAMES))
    if num_threads is not None:
        raise ValueError(refusal("FetchEnv", "num_threads", "None with engine='warp'", num_threads))
    # mujoco_warp is an optional dependency that takes seconds to import.
    from torchrl_htrpo.envs.fetch.warp_engine import WarpEngine  # noqa: PLC0415

    return WarpEngine(load_model(TASKS[task]), num_envs, device)
