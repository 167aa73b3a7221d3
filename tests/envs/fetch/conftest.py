"""A twin of each engine: the same tasks in gymnasium-robotics, driven through the same random starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

GYM_IDS = {"reach": "FetchReach", "push": "FetchPush", "slide": "FetchSlide", "pick_and_place": "FetchPickAndPlace"}


class Twin:
    """One gymnasium-robotics environment that starts its object where it is told."""

    def __init__(self, task: str) -> None:
        gymnasium = pytest.importorskip("gymnasium")
        robotics = pytest.importorskip("gymnasium_robotics")
        gymnasium.register_envs(robotics)
        self.env = gymnasium.make(f"{GYM_IDS[task]}-v4").unwrapped

    def reset(self, object_xy: np.ndarray | None) -> dict[str, np.ndarray]:
        observation, _ = self.env.reset(seed=0)
        if object_xy is None:
            return observation
        from mujoco import mj_forward, mj_resetData

        env = self.env  # gymnasium-robotics' own reset, with the object's place given
        mj_resetData(env.model, env.data)
        env.data.time, env.data.qpos[:], env.data.qvel[:] = env.initial_time, env.initial_qpos, env.initial_qvel
        env.data.qpos[-7:-5] = object_xy
        mj_forward(env.model, env.data)
        return env._get_obs()

    def step(self, action: np.ndarray) -> dict[str, np.ndarray]:
        return self.env.step(action)[0]


@pytest.fixture
def make_twin() -> Callable[[str], Any]:
    """Builds a :class:`Twin` of a task."""
    return Twin
