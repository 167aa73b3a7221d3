"""One MuJoCo state of a Fetch task, with the views and buffers for commands and measurements."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from torchrl_htrpo.envs.fetch.model import HAND_ROTATION, FetchModel, FloatArray
from torchrl_htrpo.envs.fetch.tasks import SUBSTEPS


class Readings(NamedTuple):
    """Buffers for measurements after a reset or step, of one world or with a leading ``N``."""

    grip_pos: FloatArray  # [m] gripper position, [N, 3]
    object_pos: FloatArray  # [m] object position, [N, 3]
    object_mat: FloatArray  # object rotation, [N, 9]
    fingers: FloatArray  # [m] position of the right and left finger, [N, 2]
    qvel: FloatArray  # joint velocities, [N, nv]
    grip_jacobian: FloatArray  # of position and rotation of the gripper, [N, 2, 3, nv]
    object_jacobian: FloatArray  # of position and rotation of the object, [N, 2, 3, nv]

    @classmethod
    def zeros(cls, num_worlds: int, nv: int) -> Readings:
        """Allocate buffers for ``num_worlds`` worlds with ``nv`` velocities each."""
        shapes = ((3,), (3,), (9,), (2,), (nv,), (2, 3, nv), (2, 3, nv))
        return cls(*(np.zeros((num_worlds, *shape)) for shape in shapes))

    def of(self, world: int) -> Readings:
        """Views of the buffers of one world."""
        return Readings(*(field[world] for field in self))


class World:
    """One simulated world: reset, step, and measure into ``readings``.

    It keeps numpy views of MuJoCo's arrays, since creating a view costs more than using it, and measures right after a
    step, while the data is in the processor's cache.
    """

    def __init__(self, model: FetchModel, readings: Readings) -> None:
        data = mujoco.MjData(model.mj_model)
        self.model, self.data, self.readings = model, data, readings
        self.qpos, self.qvel, self.ctrl = data.qpos, data.qvel, data.ctrl
        self._mocap_pos, self._mocap_quat = data.mocap_pos[0], data.mocap_quat[0]
        self._hand_pos, self._hand_quat = data.xpos[model.hand_body], data.xquat[model.hand_body]
        self._fingers = [int(at) for at in model.fingers]
        sources = [(data.site_xpos[model.grip_site], readings.grip_pos), (data.qvel, readings.qvel)]
        if model.task.has_object:
            sources.append((data.site_xpos[model.object_site], readings.object_pos))
            sources.append((data.site_xmat[model.object_site], readings.object_mat))
        self._copies = sources
        self._jacobians = [(*readings.grip_jacobian, model.grip_site)]
        if model.task.has_object:
            self._jacobians.append((*readings.object_jacobian, model.object_site))

    def reset(self, object_xy: FloatArray | None) -> None:
        """Reset the state, with its object at ``object_xy`` (``[2]`` in metres)."""
        model, data = self.model, self.data
        mujoco.mj_resetData(model.mj_model, data)  # also clears mocap, controls and the solver's warm start
        data.time = model.start_time
        self.qpos[:] = model.start_qpos
        self.qvel[:] = model.start_qvel
        if object_xy is not None:
            self.qpos[model.object_qpos : model.object_qpos + 2] = object_xy
        mujoco.mj_forward(model.mj_model, data)
        self._read()

    def step(self, shift: FloatArray, grip: FloatArray) -> None:
        """Move the hand's target by ``shift`` (``[3]`` in metres), the fingers by ``grip``, and step 20 times."""
        model, data = self.model.mj_model, self.data
        np.add(self._hand_pos, shift, out=self._mocap_pos)
        np.add(self._hand_quat, HAND_ROTATION, out=self._mocap_quat)
        if self.ctrl.size:
            np.add(self.qpos[self.model.ctrl_qpos], grip, out=self.ctrl)
        mujoco.mj_step(model, data, nstep=SUBSTEPS)
        if self.model.task.block_gripper:
            right, left = self._fingers
            self.qpos[right] = self.qpos[left] = 0.0
            # Compute only the part of mj_forward that the observation reads; the next step recomputes the rest.
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
        self._read()

    @property
    def diverged(self) -> bool:
        """Whether the last step diverged: MuJoCo then resets the state, and its time goes back."""
        return self.data.time < self.model.start_time

    def _read(self) -> None:
        for source, target in self._copies:
            np.copyto(target, source)
        right, left = self._fingers
        self.readings.fingers[0], self.readings.fingers[1] = self.qpos[right], self.qpos[left]
        for position, rotation, site in self._jacobians:
            mujoco.mj_jacSite(self.model.mj_model, self.data, position, rotation, site)
