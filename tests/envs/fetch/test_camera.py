"""Pictures show the goal where it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchrl_htrpo.envs.fetch.engines import make_engine


def test_the_goal_marker_moves_with_the_goal():
    engine = make_engine("mujoco", "reach", 1)
    engine.reset(torch.ones(1, dtype=torch.bool), None)
    goal = torch.tensor(engine.model.start_grip)
    try:
        left, right = (engine.render(0, goal + shift * torch.eye(3)[1], 96, 96) for shift in (-0.1, 0.1))
    except Exception as error:  # no OpenGL at all on this machine
        pytest.skip(f"no off-screen rendering here: {error}")
    assert left.shape == (96, 96, 3) and not np.array_equal(left, right)
    assert engine.render(0, goal, 700, 500).shape == (500, 700, 3)  # larger than MuJoCo's default buffer
    engine.close()


def test_without_display_the_process_survives_and_says_what_to_set(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    engine = make_engine("mujoco", "reach", 1)
    with pytest.raises(RuntimeError, match="MUJOCO_GL to one of egl, osmesa"):
        engine.render(0, torch.zeros(3), 64, 64)
