"""Fetch physics on MuJoCo's C library, with one model, many states and several threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import torch
from torch import Tensor

from torchrl_htrpo.envs.fetch.engine import DivergedError, Engine
from torchrl_htrpo.envs.fetch.model import FetchModel, FloatArray
from torchrl_htrpo.envs.fetch.observation import Kinematics
from torchrl_htrpo.envs.fetch.tasks import ACTION_SCALE
from torchrl_htrpo.envs.fetch.world import Readings, World


class MujocoEngine(Engine):
    """Step ``N`` MuJoCo states of one model, with bitwise the results of gymnasium-robotics.

    ``mj_step`` releases the GIL, so threads use several cores; all else is batched over the worlds. The result does not
    depend on the number of threads (by default the cores this process may use, at most ``N``): worlds are independent.
    """

    def __init__(self, model: FetchModel, num_worlds: int, num_threads: int | None = None) -> None:
        super().__init__(model, num_worlds, torch.device("cpu"))
        self.num_threads = min(num_threads or len(os.sched_getaffinity(0)), num_worlds)
        self._pool: ThreadPoolExecutor | None = None
        self._readings = Readings.zeros(num_worlds, model.mj_model.nv)
        self._worlds = [World(model, self._readings.of(i)) for i in range(num_worlds)]

    @property
    def qpos(self) -> FloatArray:
        """Joint positions of all worlds, ``[N, nq]`` (a copy)."""
        return np.stack([world.qpos for world in self._worlds])

    @property
    def qvel(self) -> FloatArray:
        """Joint velocities of all worlds, ``[N, nv]`` (a copy)."""
        return np.stack([world.qvel for world in self._worlds])

    def reset(self, mask: Tensor, object_xy: Tensor | None) -> None:
        """See :meth:`Engine.reset`."""
        places = None if object_xy is None else object_xy.double().numpy()

        def reset(i: int) -> None:
            self._worlds[i].reset(None if places is None else places[i])

        self._run(reset, mask.nonzero().flatten().tolist())

    def step(self, action: Tensor) -> None:
        """See :meth:`Engine.step`."""
        # float32, as gymnasium's action space: the rounding affects the trajectories.
        command = action.detach().float().clamp(-1.0, 1.0).numpy()
        shift = (command[:, :3] * np.float32(ACTION_SCALE)).astype(np.float64)
        grip = command[:, 3:].astype(np.float64)
        worlds = self._worlds

        def step(i: int) -> None:
            worlds[i].step(shift[i], grip[i])

        self._run(step, range(self.num_worlds))
        diverged = [i for i, world in enumerate(worlds) if world.diverged]
        if diverged:
            raise DivergedError(diverged)

    def measure(self) -> Kinematics:
        """See :meth:`Engine.measure`; float64 on the CPU."""
        now, dt = self._readings, self.model.dt
        velocity = now.qvel[:, None, :, None] * dt
        fingers = torch.from_numpy(now.fingers.copy())
        finger_velocity = torch.from_numpy(now.qvel[:, self.model.finger_dofs] * dt)
        grip_velocity = torch.from_numpy((now.grip_jacobian[:, 0] @ velocity[:, 0])[..., 0])
        grip = (torch.from_numpy(now.grip_pos.copy()), grip_velocity, fingers, finger_velocity)
        if not self.model.task.has_object:
            return Kinematics(*grip)
        object_velocity = torch.from_numpy((now.object_jacobian @ velocity)[..., 0])
        place, rotation = torch.from_numpy(now.object_pos.copy()), torch.from_numpy(now.object_mat.copy())
        return Kinematics(*grip, place, rotation.unflatten(-1, (3, 3)), object_velocity[:, 0], object_velocity[:, 1])

    def data(self, world: int) -> mujoco.MjData:
        """See :meth:`Engine.data`."""
        return self._worlds[world].data

    def close(self) -> None:
        """End the threads and free the rendering context."""
        super().close()
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None

    def _run(self, function: Callable[[int], None], worlds: Sequence[int]) -> None:
        """Call ``function`` for each of the worlds on all threads, this one included."""

        def work(share: Sequence[int]) -> None:
            for i in share:
                function(i)

        shares = [worlds[k :: self.num_threads] for k in range(self.num_threads)]
        if self._pool is None and self.num_threads > 1:  # start threads on first use: they do not survive a fork
            self._pool = ThreadPoolExecutor(self.num_threads - 1, thread_name_prefix="fetch")
        others = [self._pool.submit(work, share) for share in shares[1:] if share] if self._pool else []
        work(shares[0])
        for other in others:
            other.result()
