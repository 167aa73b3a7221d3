"""The interface of a physics engine."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchrl_htrpo.envs.fetch.model import FetchModel
from torchrl_htrpo.envs.fetch.observation import Kinematics


class DivergedError(RuntimeError):
    """The physics of some worlds diverged: NaN, infinite or absurdly large positions or velocities.

    Args:
        worlds: the diverged worlds.
        message: what to say; by default only which worlds.
    """

    def __init__(self, worlds: list[int], message: str | None = None) -> None:
        super().__init__(message or f"physics diverged in worlds {worlds}")
        self.worlds = worlds


class CapacityError(RuntimeError):
    """The physics found more contacts or constraints than its buffers hold, and dropped some."""


class Engine(Protocol):
    """``N`` independent worlds of one Fetch model, stepped together.

    Args:
        model: the model all worlds share.
        num_worlds: ``N``.
        device: where actions are expected and measurements are returned.
    """

    model: FetchModel
    num_worlds: int
    device: torch.device

    def reset(self, mask: Tensor, object_xy: Tensor | None) -> None:
        """Reset the masked worlds (``[N]`` bool), with objects at ``object_xy`` (``[N, 2]`` metres)."""

    def step(self, action: Tensor) -> None:
        """Advance all worlds by one action ``[N, 4]``; raise DivergedError with the worlds that diverged."""

    def measure(self) -> Kinematics:
        """Read positions and velocities of gripper and object after the last reset or step."""

    def render(self, world: int, goal: Tensor, width: int, height: int) -> NDArray[np.uint8]:
        """Render one world with its goal (``[3]`` metres): ``[height, width, 3]``."""

    def close(self) -> None:
        """Release threads and rendering contexts."""
