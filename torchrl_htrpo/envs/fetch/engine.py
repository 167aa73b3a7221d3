"""The interface of a physics engine."""

from __future__ import annotations

from abc import ABC, abstractmethod

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchrl_htrpo.envs.fetch.camera import Camera
from torchrl_htrpo.envs.fetch.model import FetchModel
from torchrl_htrpo.envs.fetch.observation import Kinematics


class DivergedError(RuntimeError):
    """The physics of some worlds diverged: NaN, infinite or absurdly large positions or velocities."""

    def __init__(self, worlds: list[int], message: str | None = None) -> None:
        super().__init__(message or f"physics diverged in worlds {worlds}")
        self.worlds = worlds


class CapacityError(RuntimeError):
    """The physics found more contacts or constraints than its buffers hold, and dropped some."""


class Engine(ABC):
    """``N`` independent worlds of one Fetch model, stepped together, with actions and measurements on ``device``."""

    def __init__(self, model: FetchModel, num_worlds: int, device: torch.device) -> None:
        self.model, self.num_worlds, self.device = model, num_worlds, device
        self._camera: Camera | None = None

    @abstractmethod
    def reset(self, mask: Tensor, object_xy: Tensor | None) -> None:
        """Reset the worlds of ``mask`` ``[N]``, objects at ``object_xy`` ``[N, 2]`` [m] (None: no object)."""

    @abstractmethod
    def step(self, action: Tensor) -> None:
        """Advance all worlds by one action of 20 physics steps; raise a DivergedError if positions became invalid.

        The action ``[N, 4]``, clipped to ``[-1, 1]``, moves the hand in units of 5 cm and commands the fingers.
        """

    @abstractmethod
    def measure(self) -> Kinematics:
        """Read positions and velocities of gripper and object after the last reset or step."""

    @abstractmethod
    def data(self, world: int) -> mujoco.MjData:
        """The MuJoCo state of one world, to render it."""

    def render(self, world: int, goal: Tensor, width: int, height: int) -> NDArray[np.uint8]:
        """Render one world with its goal (``[3]`` in metres): ``[height, width, 3]``."""
        if self._camera is None or self._camera.size != (width, height):
            self._camera = Camera(self.model, width, height)
        return self._camera.shoot(self.data(world), goal.double().cpu().numpy())

    def close(self) -> None:
        """Free the rendering context."""
        if self._camera is not None:
            self._camera.close()
        self._camera = None
