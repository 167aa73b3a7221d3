"""Constants of the four Fetch tasks, as gymnasium-robotics 1.4 (``Fetch*-v4``) sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

TaskName = Literal["reach", "push", "slide", "pick_and_place"]
TASK_NAMES: tuple[str, ...] = get_args(TaskName)

SUBSTEPS = 20  # physics steps per action: 20 x 2 ms = 40 ms, so 25 actions a second
ACTION_SCALE = 0.05  # [m] the hand's target moves at most this far along each axis per action
SETTLE_ACTIONS = 10  # actions until the arm is in its starting pose
DISTANCE_THRESHOLD = 0.05  # [m] closer than this counts as reached
OBJECT_CLEARANCE = 0.1  # [m] the object never starts closer than this to the gripper, in the plane
AIR_SHARE = 0.5  # share of goals lifted off the table where a task lifts goals
AIR_HEIGHT = 0.45  # [m] highest lift of such a goal


@dataclass(frozen=True)
class FetchTask:
    """Constants of one Fetch task: model, starts, goals."""

    name: TaskName
    initial_qpos: Mapping[str, tuple[float, ...]] = field(repr=False)  # of joints before the arm settles [m, rad]
    has_object: bool = True  # an object to move: its position is then the goal
    block_gripper: bool = True  # whether the fingers are held shut
    gripper_extra_height: float = 0.0  # [m] start height of the gripper above the default pose
    target_in_the_air: bool = False  # whether half of the goals are lifted off the table
    target_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)  # [m] shift of the goal region, [3]
    obj_range: float = 0.15  # [m] half side of the square of object starts
    target_range: float = 0.15  # [m] half side of the goal region

    @property
    def xml(self) -> str:
        """File name of the MuJoCo model among gymnasium-robotics' Fetch assets."""
        return f"{self.name}.xml"

    @property
    def observation_size(self) -> int:
        """Size of the observation: gripper only, or gripper and object."""
        return 25 if self.has_object else 10


def _start(slide0: float, object_xyz: tuple[float, float, float] | None = None) -> Mapping[str, tuple[float, ...]]:
    qpos: dict[str, tuple[float, ...]] = {
        "robot0:slide0": (slide0,),
        "robot0:slide1": (0.48,),
        "robot0:slide2": (0.0,),
    }
    if object_xyz is not None:
        qpos["object0:joint"] = (*object_xyz, 1.0, 0.0, 0.0, 0.0)
    return MappingProxyType(qpos)


_TASKS = (
    FetchTask("reach", _start(0.4049), has_object=False, gripper_extra_height=0.2, target_in_the_air=True),
    FetchTask("push", _start(0.405, (1.25, 0.53, 0.4))),
    FetchTask(
        "slide",
        _start(0.05, (1.7, 1.1, 0.41)),
        gripper_extra_height=-0.02,
        target_offset=(0.4, 0.0, 0.0),
        obj_range=0.1,
        target_range=0.3,
    ),
    FetchTask(
        "pick_and_place",
        _start(0.405, (1.25, 0.53, 0.4)),
        block_gripper=False,
        gripper_extra_height=0.2,
        target_in_the_air=True,
    ),
)
TASKS: Mapping[str, FetchTask] = MappingProxyType({task.name: task for task in _TASKS})
