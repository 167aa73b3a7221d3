"""Fetch physics on MuJoCo's C library: one model, many states, a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchrl_htrpo.envs.fetch_physics.camera import Camera
from torchrl_htrpo.envs.fetch_physics.engine import DivergedError
from torchrl_htrpo.envs.fetch_physics.model import HAND_ROTATION, FetchModel, FloatArray
from torchrl_htrpo.envs.fetch_physics.observation import Kinematics
from torchrl_htrpo.envs.fetch_physics.tasks import ACTION_SCALE, SUBSTEPS

_FATAL = [int(getattr(mujoco.mjtWarning, f"mjWARN_BAD{what}")) for what in ("QPOS", "QVEL", "QACC", "CTRL")]


class MujocoEngine:
    """Steps ``N`` MuJoCo states of one model; the same numbers as gymnasium-robotics, bit for bit.

    ``mj_step`` releases the GIL, so a few threads fill as many cores; all else is batched over the worlds.
    The result does not depend on the number of threads, since no world reads another.

    Args:
        model: the model all worlds share.
        num_worlds: number of worlds ``N``.
        num_threads: threads to step them with. Defaults to the cores this process may use, at most ``N``.

    Example:
        >>> import torch
        >>> from torchrl_htrpo.envs.fetch_physics import TASKS, MujocoEngine, load_model
        >>> engine = MujocoEngine(load_model(TASKS["reach"]), num_worlds=2)
        >>> engine.reset(torch.ones(2, dtype=torch.bool), None)
        >>> engine.step(torch.ones(2, 4))
        >>> engine.measure().grip_pos.shape
        torch.Size([2, 3])
        >>> engine.close()
    """

    device = torch.device("cpu")

    def __init__(self, model: FetchModel, num_worlds: int, num_threads: int | None = None) -> None:
        self.model = model
        self.num_worlds = num_worlds
        self.num_threads = min(num_threads or len(os.sched_getaffinity(0)), num_worlds)
        self._pool: ThreadPoolExecutor | None = None
        self._camera: Camera | None = None
        self._worlds = [mujoco.MjData(model.mj_model) for _ in range(num_worlds)]
        self._read_views()

    def _read_views(self) -> None:
        """Keeps numpy views into every state: looking them up anew costs more than reading them."""
        worlds, model = self._worlds, self.model
        self._qpos = [world.qpos for world in worlds]
        self._qvel = [world.qvel for world in worlds]
        self._ctrl = [world.ctrl for world in worlds]
        self._mocap_pos = [world.mocap_pos[0] for world in worlds]
        self._mocap_quat = [world.mocap_quat[0] for world in worlds]
        self._hand_pos = [world.xpos[model.hand_body] for world in worlds]
        self._hand_quat = [world.xquat[model.hand_body] for world in worlds]
        self._warnings = [world.warning.number for world in worlds]
        self._grip = [world.site_xpos[model.grip_site] for world in worlds]
        self._object = [world.site_xpos[model.object_site] for world in worlds]
        self._object_mat = [world.site_xmat[model.object_site] for world in worlds]
        sites = 2 if model.task.has_object else 1
        self._jacobian = np.zeros((self.num_worlds, sites, 2, 3, model.mj_model.nv))
        self._jacobian_views = [[(site[0], site[1]) for site in world] for world in self._jacobian]

    @property
    def qpos(self) -> FloatArray:
        """Joint positions of all worlds, ``[N, nq]`` (a copy)."""
        return np.stack(self._qpos)

    @property
    def qvel(self) -> FloatArray:
        """Joint velocities of all worlds, ``[N, nv]`` (a copy)."""
        return np.stack(self._qvel)

    def reset(self, mask: Tensor, object_xy: Tensor | None) -> None:
        """Puts worlds back to the start.

        Args:
            mask: which worlds, ``[N]`` bool.
            object_xy: where their objects start, ``[N, 2]`` in metres; None in a task without object.
        """
        places = None if object_xy is None else object_xy.double().numpy()
        self._run(self._reset_one, np.flatnonzero(mask.numpy()), places)

    def _reset_one(self, i: int, places: FloatArray | None) -> None:
        model, data, at = self.model, self._worlds[i], self.model.object_qpos
        mujoco.mj_resetData(model.mj_model, data)  # also clears mocap, controls and the solver's warm start
        data.time = model.start_time
        self._qpos[i][:] = model.start_qpos
        self._qvel[i][:] = model.start_qvel
        if places is not None:
            self._qpos[i][at : at + 2] = places[i]
        mujoco.mj_forward(model.mj_model, data)
        self._read_jacobians(i)

    def step(self, action: Tensor) -> None:
        """Advances all worlds by one action of 20 physics steps.

        Args:
            action: hand displacement in units of 5 cm and finger command, ``[N, 4]``, clipped to ``[-1, 1]``.

        Raises:
            DivergedError: if MuJoCo found invalid or huge numbers in a world.
        """
        # In float32, as gymnasium's action space has it: the rounding reaches the trajectories.
        command = action.float().clamp(-1.0, 1.0).numpy()
        target = np.stack(self._hand_pos) + (command[:, :3] * np.float32(ACTION_SCALE)).astype(np.float64)
        rotation = np.stack(self._hand_quat) + HAND_ROTATION
        grip = self.qpos[:, self.model.ctrl_qpos] + command[:, 3:].astype(np.float64)
        self._run(self._step_one, np.arange(self.num_worlds), target, rotation, grip)
        self._check()

    def _step_one(self, i: int, target: FloatArray, rotation: FloatArray, grip: FloatArray) -> None:
        model, data = self.model.mj_model, self._worlds[i]
        self._mocap_pos[i][:] = target[i]
        self._mocap_quat[i][:] = rotation[i]
        self._ctrl[i][:] = grip[i]
        mujoco.mj_step(model, data, nstep=SUBSTEPS)
        if self.model.task.block_gripper:
            self._qpos[i][self.model.fingers] = 0.0
            # The part of mj_forward that the observation and the next step read: the rest is recomputed there.
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
        self._read_jacobians(i)

    def _read_jacobians(self, i: int) -> None:
        model, data, views = self.model, self._worlds[i], self._jacobian_views[i]
        mujoco.mj_jacSite(model.mj_model, data, *views[0], model.grip_site)
        if model.task.has_object:
            mujoco.mj_jacSite(model.mj_model, data, *views[1], model.object_site)

    def _check(self) -> None:
        # MuJoCo resets a diverged state by itself, so the numbers may look fine: its warnings do not.
        bad = np.stack(self._warnings)[:, _FATAL].any(axis=1) | ~np.isfinite(self.qpos).all(axis=1)
        if bad.any():
            raise DivergedError(np.flatnonzero(bad).tolist())

    def measure(self) -> Kinematics:
        """Reads positions and velocities after the last reset or step.

        Returns:
            The measurements of all worlds, float64 on the CPU.
        """
        model, qvel = self.model, self.qvel
        velocity = torch.from_numpy((self._jacobian @ qvel[:, None, None, :, None])[..., 0] * model.dt)
        fingers = torch.from_numpy(self.qpos[:, model.fingers])
        finger_velocity = torch.from_numpy(qvel[:, model.finger_dofs] * model.dt)
        grip = (torch.from_numpy(np.stack(self._grip)), velocity[:, 0, 0], fingers, finger_velocity)
        if not model.task.has_object:
            return Kinematics(*grip)
        place = torch.from_numpy(np.stack(self._object))
        rotation = torch.from_numpy(np.stack(self._object_mat)).unflatten(-1, (3, 3))
        return Kinematics(*grip, place, rotation, velocity[:, 1, 0], velocity[:, 1, 1])

    def render(self, world: int, goal: Tensor, width: int, height: int) -> NDArray[np.uint8]:
        """Renders one world.

        Args:
            world: index of the world.
            goal: position of the goal marker, ``[3]`` in metres.
            width: image width in pixels.
            height: image height in pixels.

        Returns:
            The image, ``[height, width, 3]``.
        """
        if self._camera is None or self._camera.size != (width, height):
            self._camera = Camera(self.model, width, height)
        return self._camera.shoot(self._worlds[world], goal.double().numpy())

    def close(self) -> None:
        """Ends the threads and frees the rendering context."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._camera is not None:
            self._camera.close()
        self._pool = self._camera = None

    def _run(self, function: Callable[..., None], worlds: NDArray[np.int64], *arrays: FloatArray | None) -> None:
        """Calls ``function(i, *arrays)`` for each of the worlds, spread over the threads; this thread takes a share."""

        def work(share: list[int]) -> None:
            for i in share:
                function(i, *arrays)

        shares = [worlds[k :: self.num_threads].tolist() for k in range(self.num_threads)]
        if self._pool is None and self.num_threads > 1:  # started late, so that an engine survives a fork before use
            self._pool = ThreadPoolExecutor(self.num_threads - 1, thread_name_prefix="fetch")
        others = [self._pool.submit(work, share) for share in shares[1:] if share] if self._pool else []
        work(shares[0])
        for other in others:
            other.result()
