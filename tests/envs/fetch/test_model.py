"""Models are loaded from gymnasium-robotics' assets and start as its environments do."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from torchrl_htrpo.envs.fetch.model import asset_path, load_model
from torchrl_htrpo.envs.fetch.tasks import TASK_NAMES, TASKS


@pytest.mark.parametrize("task", TASK_NAMES)
def test_starting_state_equals_gymnasium(task, make_twin):
    model, env = load_model(TASKS[task]), make_twin(task).env
    assert np.array_equal(model.start_qpos, env.initial_qpos)
    assert np.array_equal(model.start_qvel, env.initial_qvel)
    assert model.start_time == env.initial_time and model.dt == env.dt
    assert np.array_equal(model.start_grip, env.initial_gripper_xpos)
    assert model.object_height == getattr(env, "height_offset", 0.0)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install gymnasium-robotics"):
        asset_path("push.xml")


def test_an_unknown_file_says_where_it_looked():
    with pytest.raises(ImportError, match="no_such.xml"):
        asset_path("no_such.xml")
