"""One state: reset gives the start, a step moves the hand, readings are written in place."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from torchrl_htrpo.envs.fetch.model import load_model
from torchrl_htrpo.envs.fetch.tasks import TASKS
from torchrl_htrpo.envs.fetch.world import Readings, World


def made(task: str) -> tuple[World, Readings]:
    model = load_model(TASKS[task])
    readings = Readings.zeros(2, model.mj_model.nv)
    return World(model, readings.of(1)), readings


def test_readings_of_one_world_are_views():
    readings = Readings.zeros(3, 15)
    readings.of(2).qvel[:] = 7.0
    assert (readings.qvel[2] == 7.0).all() and (readings.qvel[:2] == 0.0).all()


def test_a_reset_is_the_start_and_writes_into_its_own_row():
    world, readings = made("push")
    world.reset(np.array([1.3, 0.8]))
    np.testing.assert_allclose(readings.object_pos[1, :2], [1.3, 0.8], atol=1e-12)
    assert world.data.time == world.model.start_time and not world.diverged
    assert (readings.object_pos[0] == 0.0).all()
    first = readings.grip_pos[1].copy()
    world.step(np.array([0.05, 0.0, 0.0]), np.zeros(2))
    world.reset(np.array([1.3, 0.8]))
    assert (readings.grip_pos[1] == first).all()


def test_a_step_moves_the_hand_towards_its_target():
    world, readings = made("reach")
    world.reset(None)
    before = readings.grip_pos[1].copy()
    for _ in range(5):
        world.step(np.array([0.05, 0.0, 0.0]), np.zeros(2))
    moved = readings.grip_pos[1] - before
    assert moved[0] > 0.05 and abs(moved[1]) < 0.02 and abs(moved[2]) < 0.02


def test_nan_is_detected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning to a file where it is
    world, _ = made("reach")
    world.reset(None)
    world.qvel[:] = np.nan
    world.step(np.zeros(3), np.zeros(2))
    assert world.diverged
