"""The constants are those of gymnasium-robotics."""

from __future__ import annotations

import numpy as np
import pytest

from torchrl_htrpo.envs.fetch.tasks import DISTANCE_THRESHOLD, SUBSTEPS, TASK_NAMES, TASKS

FIELDS = ["has_object", "block_gripper", "gripper_extra_height", "target_in_the_air", "obj_range", "target_range"]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_constants_equal_gymnasium(task, make_twin):
    env, ours = make_twin(task).env, TASKS[task]
    assert {name: getattr(ours, name) for name in FIELDS} == {name: getattr(env, name) for name in FIELDS}
    assert np.array_equal(np.broadcast_to(env.target_offset, 3), ours.target_offset)
    assert (env.distance_threshold, env.n_substeps) == (DISTANCE_THRESHOLD, SUBSTEPS)
    assert env.observation_space["observation"].shape == (ours.observation_size,)
