"""Load the MuJoCo model of a Fetch task, with its addresses and starting state."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from torchrl_htrpo.envs.fetch.tasks import SETTLE_ACTIONS, SUBSTEPS, FetchTask

FloatArray = NDArray[np.float64]

HAND_ROTATION: FloatArray = np.array([1.0, 0.0, 1.0, 0.0])  # added to the hand's quaternion, unnormalised
_REST_OF_HAND = np.array([-0.498, 0.005, -0.431])  # [m] from the model's zero pose to the starting pose


def asset_path(xml: str) -> Path:
    """Find a Fetch model file in the installed gymnasium-robotics, without importing the package.

    Raise an ImportError if gymnasium-robotics is not installed, or came without its assets.
    """
    spec = importlib.util.find_spec("gymnasium_robotics")
    locations = None if spec is None else spec.submodule_search_locations
    for location in locations or ():
        path = Path(location) / "envs" / "assets" / "fetch" / xml
        if path.is_file():
            return path
    raise ImportError(
        f"the Fetch tasks read the model {xml!r} from gymnasium-robotics' assets: expected an installed "
        f"gymnasium-robotics, got {'none' if spec is None else list(locations or ())}. "
        "Install it with: pip install gymnasium-robotics==1.4.2"
    )


@dataclass(frozen=True)
class FetchModel:
    """A compiled model with the addresses and the starting state that both physics engines need."""

    task: FetchTask
    mj_model: mujoco.MjModel  # with the weld of hand and mocap body reset
    grip_site: int  # index of the gripper's site
    object_site: int  # index of the object's site (-1 in a task without object)
    hand_body: int  # index of the body welded to the mocap body
    fingers: NDArray[np.int64]  # positions of the right and left finger in qpos, [2]
    finger_dofs: NDArray[np.int64]  # positions of the right and left finger in qvel, [2]
    ctrl_qpos: NDArray[np.int64]  # position in qpos of the joint each actuator drives, [nu]
    object_qpos: int  # position of the object's free joint in qpos (-1 without object)
    start_time: float  # simulated seconds at the start of an episode
    start_qpos: FloatArray  # joint positions at the start of an episode, [nq]
    start_qvel: FloatArray  # joint velocities there, [nv]
    start_grip: FloatArray  # [m] gripper position around which goals and objects are drawn, [3]
    object_height: float  # [m] height of the object at rest (0 without object)

    @property
    def dt(self) -> float:
        """Simulated seconds per action."""
        return SUBSTEPS * float(self.mj_model.opt.timestep)


def load_model(task: FetchTask) -> FetchModel:
    """Compile a task's model and simulate until the arm is in its starting pose.

    The XML is not changed: dropping far meshes or turning off multi-point contacts changes trajectories.
    """
    model = mujoco.MjModel.from_xml_path(str(asset_path(task.xml)))
    welds = model.eq_type == mujoco.mjtEq.mjEQ_WELD
    # Weld hand and mocap body at zero offset. Only the first 7 columns: newer MuJoCo appends others.
    model.eq_data[welds, :7] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    grip, thing = model.site("robot0:grip").id, model.site("object0").id if task.has_object else -1
    data = _settle(task, model, grip)
    fingers = [model.joint(f"robot0:{side}_gripper_finger_joint").id for side in ("r", "l")]
    return FetchModel(
        task=task,
        mj_model=model,
        grip_site=grip,
        object_site=thing,
        hand_body=model.body("robot0:gripper_link").id,
        fingers=model.jnt_qposadr[fingers].astype(np.int64),
        finger_dofs=model.jnt_dofadr[fingers].astype(np.int64),
        ctrl_qpos=model.jnt_qposadr[model.actuator_trnid[:, 0]].astype(np.int64),
        object_qpos=int(model.joint("object0:joint").qposadr[0]) if task.has_object else -1,
        start_time=float(data.time),
        start_qpos=data.qpos.copy(),
        start_qvel=data.qvel.copy(),
        start_grip=data.site_xpos[grip].copy(),
        object_height=float(data.site_xpos[thing, 2]) if task.has_object else 0.0,
    )


def _settle(task: FetchTask, model: mujoco.MjModel, grip: int) -> mujoco.MjData:
    data = mujoco.MjData(model)
    for name, value in task.initial_qpos.items():
        start = model.joint(name).qposadr[0]
        data.qpos[start : start + len(value)] = value
    mujoco.mj_forward(model, data)
    lift = np.array([0.0, 0.0, task.gripper_extra_height])
    data.mocap_pos[0] = (_REST_OF_HAND + lift) + data.site_xpos[grip]
    data.mocap_quat[0] = HAND_ROTATION
    for _ in range(SETTLE_ACTIONS):
        mujoco.mj_step(model, data, nstep=SUBSTEPS)
    # Site positions are one physics step old here; gymnasium-robotics samples its goals from these.
    return data
