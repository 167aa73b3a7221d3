"""The random state of an environment determines its later episodes."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.envs import BitFlipEnv, EnvBatch

ENVS = {
    "one generator": lambda seed: BitFlipEnv(12, num_envs=2, seed=seed),
    "seeded episodes": lambda seed: EnvBatch([lambda: BitFlipEnv(12)] * 2, seed=seed),
}


def goals(env, resets=3):
    return torch.stack([env.reset()["desired_goal"].reshape(2, -1) for _ in range(resets)])


@pytest.fixture(params=ENVS)
def make(request):
    made = []

    def one(seed):
        made.append(ENVS[request.param](seed))
        return made[-1]

    yield one
    for env in made:
        env.close(raise_if_closed=False)


def test_another_environment_continues_from_the_state_of_the_first(make):
    env, other = make(0), make(7)
    env.reset()
    state = env.rng_state()
    expected = goals(env)
    assert not torch.equal(goals(other), expected)
    other.set_rng_state(state)
    assert torch.equal(goals(other), expected)


def test_a_saved_state_is_a_copy(make):
    env = make(0)
    state = env.rng_state()
    before = {key: value.clone() for key, value in state.items()}
    env.reset()
    assert all(torch.equal(state[key], before[key]) for key in before)
    assert any(not torch.equal(value, before[key]) for key, value in env.rng_state().items())


def test_a_seed_begins_the_stream_anew(make):
    env = make(3)
    first = goals(env)
    env.set_seed(3)
    assert torch.equal(goals(env), first)


def test_a_state_of_another_number_of_environments_is_refused():
    env, more = ENVS["seeded episodes"](0), EnvBatch([lambda: BitFlipEnv(12)] * 3, seed=0)
    with pytest.raises(ValueError, match=r"EnvBatch: state\['episode'\] must be of shape \[2\].*got \[3\]"):
        env.set_rng_state(more.rng_state())
    env.close()
    more.close()
