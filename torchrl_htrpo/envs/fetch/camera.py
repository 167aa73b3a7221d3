"""Render one Fetch world."""

from __future__ import annotations

import atexit
import os
import sys
from weakref import WeakSet

import mujoco
import numpy as np
from numpy.typing import NDArray

from torchrl_htrpo.envs.fetch.model import FetchModel, FloatArray

_OFF_SCREEN = ("egl", "osmesa")
_OPEN: WeakSet[Camera] = WeakSet()


class Camera:
    """Render a MuJoCo state off screen, with the goal as a red ball.

    Raise a RuntimeError if there is no display and ``MUJOCO_GL`` does not ask for off-screen rendering.
    """

    def __init__(self, model: FetchModel, width: int, height: int) -> None:
        self.size = (width, height)
        self._target = model.mj_model.site("target0").id
        screen = model.mj_model.vis.global_
        screen.offwidth, screen.offheight = max(screen.offwidth, width), max(screen.offheight, height)
        _refuse_without_display()
        self._renderer = mujoco.Renderer(model.mj_model, height=height, width=width)
        _OPEN.add(self)
        # MuJoCo ends OpenGL at exit, and freeing a context after that prints an error. Exit hooks run last in, first
        # out, and MuJoCo registers its hook with its first renderer, so register ours here rather than on import.
        atexit.register(_close_all)
        self._view = mujoco.MjvCamera()
        self._view.distance, self._view.azimuth, self._view.elevation = 2.5, 132.0, -14.0
        self._view.lookat[:] = [1.3, 0.75, 0.55]

    def shoot(self, data: mujoco.MjData, goal: FloatArray) -> NDArray[np.uint8]:
        """Render a state with its goal (``[3]`` in metres): ``[height, width, 3]``; the physics does not change."""
        data.site_xpos[self._target] = goal
        self._renderer.update_scene(data, self._view)
        return self._renderer.render()

    def close(self) -> None:
        """Free the rendering context."""
        _OPEN.discard(self)
        self._renderer.close()


def _close_all() -> None:
    for camera in list(_OPEN):
        camera.close()


def _refuse_without_display() -> None:
    # Without a display, MuJoCo's default backend aborts the whole process.
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and os.environ.get("MUJOCO_GL") not in _OFF_SCREEN:
        raise RuntimeError(
            "FetchEnv.render: there is no display; set the environment variable MUJOCO_GL to one of "
            f"{', '.join(_OFF_SCREEN)} before Python starts (got {os.environ.get('MUJOCO_GL')!r})"
        )
