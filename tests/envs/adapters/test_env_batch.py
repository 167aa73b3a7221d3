"""EnvBatch: the same results with and without workers, and a random state that resumes."""

from __future__ import annotations

import multiprocessing
from functools import partial

import numpy as np
import pytest
import torch
from torchrl.envs import EnvBase, GymWrapper, check_env_specs

pytest.importorskip("gymnasium")

from tests.envs.failing import Walk
from torchrl_htrpo.envs import BitFlipEnv, EnvBatch, EnvFailure

ACTION = torch.tensor([1.0, 0.5])


def batch(count=4, **kwargs) -> EnvBatch:
    return EnvBatch([Walk] * count, seed=3, start_method="fork", **kwargs)


def walked(env: EnvBase, steps: int = 12):
    def act(tensordict):
        return tensordict.set("action", ACTION.expand(*env.batch_size, 2).clone())

    with torch.no_grad():
        return env.rollout(steps, act, break_when_any_done=False)


def same(one, other) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one.keys(True, True))


@pytest.mark.parametrize("workers", [0, 2])
def test_it_keeps_the_contract_of_an_environment(workers):
    env = batch(num_workers=workers)
    check_env_specs(env)
    assert env.batch_size == (4,) and env.observation_spec["observation"].dtype == torch.float32
    env.close()


def test_the_number_of_workers_changes_nothing():
    walks = []
    for workers in (0, 1, 2, 4):
        env = batch(num_workers=workers)
        walks.append(walked(env))
        env.close()
    assert all(same(walks[0], other) for other in walks[1:])
    assert walks[0]["next", "done"][:, :, 0].int().tolist() == [[0, 0, 0, 0, 1] * 2 + [0, 0]] * 4


def test_episodes_of_different_lengths_are_the_same_with_workers_and_without():
    makers = [partial(Walk, horizon=horizon) for horizon in (3, 5, 4, 2)]
    walks = []
    for workers in (0, 1, 2, 4):
        env = EnvBatch(makers, seed=3, num_workers=workers, start_method="fork")
        walks.append((walked(env), env.rng_state()["episode"].tolist()))
        env.close()
    assert all(same(walks[0][0], other) and walks[0][1] == episodes for other, episodes in walks[1:])
    assert walks[0][0]["next", "done"][..., 0].sum(-1).tolist() == [4, 2, 3, 6]


class Painted(BitFlipEnv):
    def render(self, *, width, height):
        return np.full((height, width, 3), 7, np.uint8)


def test_the_first_environment_is_rendered():
    env = EnvBatch([partial(Painted, 4), partial(BitFlipEnv, 4)], seed=0)
    assert env.render(width=5, height=2).shape == (2, 5, 3) and (env.render(width=5, height=2) == 7).all()
    with pytest.raises(TypeError, match=r"EnvBatch: env must be .*with a render method, got 'BitFlipEnv'"):
        EnvBatch([partial(BitFlipEnv, 4)], seed=0).render(width=5, height=2)
    env = EnvBatch([partial(Painted, 4)] * 2, num_workers=2, start_method="fork", seed=0)
    with pytest.raises(TypeError, match="num_workers must be 0 to render an environment, got 2"):
        env.render(width=5, height=2)
    env.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("other", [partial(BitFlipEnv, 5), Walk], ids=["another size", "another action"])
def test_environments_of_different_shapes_are_refused(workers, other):
    with pytest.raises(ValueError, match="EnvBatch: makers must be functions that make environments of the same specs"):
        EnvBatch([partial(BitFlipEnv, 4), other], num_workers=workers, start_method="fork")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_closed_environment_says_so(workers):
    env = EnvBatch([Walk], num_workers=workers, start_method="fork")
    env.close()
    with pytest.raises(RuntimeError, match="EnvBatch: reset was called on a closed environment"):
        env.reset()
    if not workers:
        with pytest.raises(RuntimeError, match="EnvBatch: render was called on a closed environment"):
            env.render(width=2, height=2)


class UnspeakableError(Exception):
    def __repr__(self):
        raise ValueError

    __str__ = __repr__


class Mute(Walk):
    def step(self, action):
        raise UnspeakableError


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_that_cannot_be_printed_keeps_its_environment_and_step(workers):
    env = EnvBatch([Mute], num_workers=workers, start_method="fork")
    with pytest.raises(EnvFailure, match=r"environment 0 raised .*UnspeakableError.* in step 1 of episode 1"):
        env.rollout(2)


def test_environments_and_episodes_and_seeds_differ():
    env = batch(2)
    goals = walked(env)["desired_goal"]
    env.set_seed(4)
    other = walked(env)["desired_goal"]
    env.set_seed(3)
    again = walked(env)["desired_goal"]
    starts = [goals[0, 0], goals[1, 0], goals[0, 5], other[0, 0]]
    assert all(not torch.equal(a, b) for i, a in enumerate(starts) for b in starts[:i])
    assert torch.equal(goals, again)


@pytest.mark.parametrize("workers", [0, 2])
def test_its_random_state_determines_later_episodes(workers):
    env = batch(num_workers=workers)
    walked(env, 7)
    state = env.rng_state()
    expected = walked(env, 7)
    env.close()
    other = EnvBatch([Walk] * 4, seed=99)
    other.set_rng_state(state)
    assert same(walked(other, 7), expected)


def test_a_state_of_another_number_of_environments_is_refused():
    with pytest.raises(ValueError, match=r"state\['episode'\] must be of shape \[4\], got \[2\]"):
        batch(4).set_rng_state(batch(2).rng_state())


@pytest.mark.parametrize("workers", [0, 2])
def test_environments_reset_one_by_one(workers):
    env = batch(num_workers=workers)
    first = env.reset()
    mask = torch.tensor([[False], [True], [False], [False]])
    after = env.reset(first.clone().set("_reset", mask))
    assert torch.equal((after["desired_goal"] != first["desired_goal"]).any(-1), mask.squeeze(-1))
    assert env.rng_state()["episode"].tolist() == [1, 2, 1, 1]
    env.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_environments_of_torchrl_and_batches_of_them_are_accepted(workers):
    env = EnvBatch([partial(BitFlipEnv, 4, 3)] * 2, num_workers=workers, seed=0, start_method="fork")
    walk = env.rollout(4)
    assert walk.shape == (2, 3, 4) and not torch.equal(walk["desired_goal"][0], walk["desired_goal"][1])
    env.set_seed(0)
    assert torch.equal(env.reset()["desired_goal"], walk["desired_goal"][:, :, 0])
    env.close()


def test_makers_may_differ():
    env = EnvBatch([Walk, lambda: GymWrapper(Walk(horizon=2))], seed=0)
    assert walked(env, 4)["next", "done"][..., 0].int().tolist() == [[0, 0, 0, 0], [0, 1, 0, 1]]


@pytest.mark.slow
def test_workers_start_in_fresh_processes_by_default():
    env = EnvBatch([partial(Walk)] * 2, num_workers=2, seed=3)
    assert same(walked(env), walked(batch(2)))
    env.close()


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("makers", [], "makers must be at least one function, got 0"),
        ("num_workers", 3, "num_workers must be 0, or a divisor of the 4 environments, got 3"),
        ("num_workers", -1, "num_workers must be an integer of at least 0, got -1"),
        ("timeout", 0, r"timeout must be in \(0, 1e\+06\], got 0"),
        ("timeout", float("inf"), r"timeout must be in \(0, 1e\+06\], got inf"),
        ("timeout", float("nan"), r"timeout must be in \(0, 1e\+06\], got nan"),
        ("start_method", "thread", r"start_method must be one of the choices, got 'thread' \(choices: 'spawn', .*\)"),
    ],
)
def test_invalid_arguments_are_refused(argument, value, said):
    with pytest.raises(ValueError, match=rf"EnvBatch: {said}"):
        EnvBatch(**{"makers": [Walk] * 4, argument: value})
