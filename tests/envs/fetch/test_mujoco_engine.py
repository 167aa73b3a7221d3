"""The batched engine and gymnasium-robotics give the same numbers, whatever the threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchrl_htrpo.envs.fetch.draws import draw_objects
from torchrl_htrpo.envs.fetch.engine import DivergedError
from torchrl_htrpo.envs.fetch.model import load_model
from torchrl_htrpo.envs.fetch.mujoco_engine import MujocoEngine
from torchrl_htrpo.envs.fetch.observation import observe
from torchrl_htrpo.envs.fetch.tasks import TASK_NAMES, TASKS

WORLDS, STEPS = 2, 50


def objects_of(engine, episode):
    if not engine.model.task.has_object:
        return None
    return draw_objects(engine.model, 7, torch.full((engine.num_worlds,), episode))


def everyone(engine):
    return torch.ones(engine.num_worlds, dtype=torch.bool)


def towards_contact(rng, at_object):
    """Actions beyond the bounds, biased towards the object and into the table."""
    action = rng.uniform(-1.2, 1.2, (WORLDS, 4))
    action[:, :2] += 5.0 * at_object[:, :2]
    action[:, 2] -= 0.7
    return action.astype(np.float32)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_equals_gymnasium_bit_for_bit(task, make_twin):
    engine = MujocoEngine(load_model(TASKS[task]), WORLDS, num_threads=2)
    twins, rng, contacts = [make_twin(task) for _ in range(WORLDS)], np.random.default_rng(0), 0
    for episode in range(3):
        objects = objects_of(engine, episode)
        engine.reset(everyone(engine), objects)
        seen = [twin.reset(None if objects is None else objects[i].numpy()) for i, twin in enumerate(twins)]
        for _ in range(STEPS):
            observation, achieved = observe(engine.measure())
            for i, twin in enumerate(twins):
                assert np.array_equal(twin.env.data.qpos, engine.qpos[i])
                assert np.array_equal(twin.env.data.qvel, engine.qvel[i])
                np.testing.assert_allclose(observation[i].numpy(), seen[i]["observation"], rtol=0, atol=1e-12)
                np.testing.assert_allclose(achieved[i].numpy(), seen[i]["achieved_goal"], rtol=0, atol=1e-12)
                contacts = max(contacts, twin.env.data.ncon)
            action = towards_contact(rng, (observation[:, 6:9] if objects is not None else torch.zeros(2, 3)).numpy())
            engine.step(torch.from_numpy(action))
            seen = [twin.step(action[i]) for i, twin in enumerate(twins)]
    assert contacts > (3 if objects is None else 8)  # base on the floor, object at rest on the table: touched more
    engine.close()


@pytest.mark.parametrize("task", ["push", "pick_and_place"])
def test_result_does_not_depend_on_the_number_of_threads(task):
    engines = [MujocoEngine(load_model(TASKS[task]), 5, num_threads=threads) for threads in (1, 2, 5)]
    generator = torch.Generator().manual_seed(1)
    for engine in engines:
        engine.reset(everyone(engine), objects_of(engine, 0))
    for _ in range(10):
        action = torch.rand(5, 4, generator=generator) * 2 - 1
        for engine in engines:
            engine.step(action)
    for engine in engines[1:]:
        assert np.array_equal(engine.qpos, engines[0].qpos)
        assert all(torch.equal(a, b) for a, b in zip(engine.measure(), engines[0].measure(), strict=True))


@pytest.mark.parametrize("task", TASK_NAMES)
def test_partial_reset_leaves_the_other_worlds_alone(task):
    engine = MujocoEngine(load_model(TASKS[task]), 3)
    engine.reset(everyone(engine), objects_of(engine, 0))
    start = engine.qpos[1]
    for _ in range(5):
        engine.step(torch.full((3, 4), 0.3))
    before, qpos, qvel = engine.measure(), engine.qpos, engine.qvel
    engine.reset(torch.tensor([False, True, False]), objects_of(engine, 0))
    others = [0, 2]
    assert np.array_equal(engine.qpos[others], qpos[others]) and np.array_equal(engine.qvel[others], qvel[others])
    assert all(
        torch.equal(a[others], b[others])
        for a, b in zip(engine.measure(), before, strict=True)
        if a is not None and b is not None
    )
    assert np.array_equal(engine.qpos[1], start)


def test_a_reset_world_forgets_its_past():
    engine = MujocoEngine(load_model(TASKS["pick_and_place"]), 1)
    runs = []
    for _ in range(2):
        engine.reset(everyone(engine), objects_of(engine, 3))
        for step in range(8):
            engine.step(torch.full((1, 4), 0.1 * step))
        runs.append(engine.qpos)
    assert np.array_equal(*runs)


def test_more_threads_than_worlds_are_not_started():
    assert MujocoEngine(load_model(TASKS["reach"]), 2, num_threads=9).num_threads == 2


def test_divergence_names_the_world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning into a log file where it runs
    engine = MujocoEngine(load_model(TASKS["push"]), 3)
    engine.reset(everyone(engine), objects_of(engine, 0))
    engine._worlds[2].qvel[0] = float("nan")
    with pytest.raises(DivergedError, match=r"\[2\]") as caught:
        engine.step(torch.zeros(3, 4))
    assert caught.value.worlds == [2]


def test_a_diverged_world_recovers_by_reset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = MujocoEngine(load_model(TASKS["push"]), 2)
    engine.reset(everyone(engine), objects_of(engine, 0))
    with pytest.raises(DivergedError):
        engine.step(torch.tensor([[float("nan")] * 4, [0.0] * 4]))
    engine.reset(torch.tensor([True, False]), objects_of(engine, 1))
    engine.step(torch.zeros(2, 4))
