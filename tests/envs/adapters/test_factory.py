"""make_goal_env: float32, whole episodes, correct terminal observations, errors that name the argument."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.envs import BitFlipEnv, make_goal_env
from torchrl_htrpo.envs.adapters.factory import GOAL_KEYS

pytest.importorskip("mujoco")
gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("gymnasium_robotics")
BACKENDS = ["batched", "gymnasium"]


class Counter(gymnasium.Env):
    """Counts its steps to 3; the goal is a number drawn at the reset."""

    action_space = gymnasium.spaces.Discrete(2)
    goal = gymnasium.spaces.Box(0, 100, (1,), dtype="float64")
    observation_space = gymnasium.spaces.Dict(dict.fromkeys(GOAL_KEYS, goal))

    def __init__(self):
        super().__init__()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.wanted = 0, self.np_random.integers(1, 100)
        return self.state(), {}

    def step(self, action):
        self.count += 1
        return self.state(), 0.0, False, self.count == 3, {}

    def state(self):
        here, wanted = ([float(number)] for number in (self.count, self.wanted))
        box = self.goal.dtype.type
        return {key: box(wanted if key == "desired_goal" else here) for key in GOAL_KEYS}


def gym_counter():
    from torchrl.envs import GymWrapper

    return GymWrapper(Counter())


def length(env) -> int:
    """Steps of an episode of a Fetch task."""
    return env.rollout(60, break_when_any_done=True).shape[-1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_backends_give_the_same_keys_in_float32(backend):
    env = make_goal_env("reach", 2, backend=backend, seed=0)
    batch = env.rollout(2)
    sizes = {"observation": 10, "achieved_goal": 3, "desired_goal": 3}
    for key, size in sizes.items():
        for entry in (batch[key], batch["next", key]):
            assert entry.shape == (2, 2, size) and entry.dtype == torch.float32
    assert env.batch_size == (2,) and batch["action"].shape == (2, 2, 4)
    env.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_terminal_observation_is_the_last_of_its_own_episode(backend):
    env = make_goal_env("reach", 2, backend=backend, seed=0)
    batch = env.rollout(51, break_when_any_done=False)
    assert batch["next", "truncated"][:, 49].all() and not batch["next", "truncated"][:, :49].any()
    last, fresh = batch["next", "achieved_goal"][:, 49], batch["achieved_goal"][:, 50]
    # a hand moves centimetres in a step, and decimetres back to its start
    assert (last - batch["achieved_goal"][:, 49]).norm(dim=-1).max() < 0.05
    assert last.abs().min() > 0 and (last - fresh).norm(dim=-1).max() > 0.05
    assert torch.equal(batch["next", "desired_goal"][:, 49], batch["desired_goal"][:, 49])
    assert not torch.equal(batch["next", "desired_goal"][:, 49], batch["desired_goal"][:, 50])
    env.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_gives_the_same_goals_again_and_another_seed_others(backend):
    goals = []
    for seed in (1, 1, 2):
        env = make_goal_env("reach", 2, backend=backend, seed=seed)
        goals.append(env.reset()["desired_goal"])
        env.close()
    assert torch.equal(goals[0], goals[1]) and not torch.equal(goals[0], goals[2])
    assert not torch.equal(goals[0][0], goals[0][1])  # the worlds differ


def test_batched_worlds_do_not_depend_on_the_number_of_threads():
    actions = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ends = []
    for threads in (1, 2):
        env = make_goal_env("push", 3, seed=0, num_threads=threads)
        state = env.reset()
        for step in range(5):
            state = env.step(state.set("action", actions[:, step]))["next"].exclude("reward")
        ends.append(state["observation"])
        env.close()
    assert torch.equal(*ends)


def test_a_function_that_makes_an_environment_is_accepted():
    batch = make_goal_env(gym_counter, 2, seed=0).rollout(7, break_when_any_done=False)
    assert batch["next", "achieved_goal"][0, :, 0].tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert batch["next", "done"][0, :, 0].tolist() == [False, False, True] * 2 + [False]
    assert batch["achieved_goal"].dtype == torch.float32


def test_a_function_may_make_a_torchrl_environment():
    env = make_goal_env(lambda: BitFlipEnv(4, 3), 2, seed=0)
    assert env.rollout(4).shape == (2, 3, 4)


def test_any_gymnasium_id_with_goals_is_accepted():
    gymnasium.register("Counter-v0", Counter)
    try:
        assert make_goal_env("Counter-v0", 2, seed=0).rollout(3).shape == (2, 3)
    finally:
        del gymnasium.registry["Counter-v0"]


def test_an_environment_without_goals_is_refused_with_what_it_has():
    with pytest.raises(ValueError, match=r"make_goal_env: name .*'achieved_goal', 'desired_goal'.*got 'CartPole-v1'"):
        make_goal_env("CartPole-v1")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("reech", ValueError, r"make_goal_env: name .*got 'reech' \(choices: 'reach'"),
        ("FetchReach-v99", ValueError, r"got 'FetchReach-v99' \(choices: 'FetchReach-v4'"),
        (3, TypeError, "name must be an id or a function that makes an environment, got 3"),
        (Counter(), TypeError, r"a function that makes an environment \(lambda: MyEnv\(\)\).*got 'Counter'"),
        (BitFlipEnv(4), TypeError, r"\(lambda: MyEnv\(\)\).*got 'BitFlipEnv'"),
    ],
)
def test_a_name_that_is_neither_an_id_nor_a_function_is_refused(name, error, said):
    with pytest.raises(error, match=said):
        make_goal_env(name)


def test_ids_of_gymnasium_robotics_need_no_registration():
    env = make_goal_env("PointMaze_UMaze-v3", 2, horizon=3, seed=0)
    assert env.rollout(5).shape == (2, 3)
    env.close()


def test_actions_of_a_discrete_environment_are_indices():
    env = make_goal_env(Counter, 2)
    assert env.action_spec.shape == (2,) and env.action_spec.dtype == torch.int64


def test_an_unknown_backend_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match=r"backend must be one of the choices, got 'mjx' \(choices: 'batched', 'gymnasium'\)"
    ):
        make_goal_env("reach", backend="mjx")


@pytest.mark.parametrize("backend", BACKENDS)
def test_episodes_last_as_long_as_asked_for(backend):
    env = make_goal_env("reach", 2, backend=backend, horizon=7)
    assert length(env) == 7
    env.close()


def test_a_horizon_for_an_environment_that_a_function_makes_is_refused():
    with pytest.raises(ValueError, match="horizon must be None with a function"):
        make_goal_env(gym_counter, horizon=3)


def test_keywords_reach_the_environment():
    env = make_goal_env("reach", 1, backend="gymnasium", reward_type="dense")
    assert env.rollout(1)["next", "reward"].item() not in {0.0, -1.0}
    env.close()
    with pytest.raises(ValueError, match="dtype"):
        make_goal_env("reach", 1, dtype=torch.int32)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (
            gymnasium.spaces.Box(0, 100, (2,), "float32"),
            r"'achieved_goal' must be of the shape \[1, 1\] of 'desired_goal'",
        ),
        (gymnasium.spaces.Box(0, 100, (1,), "int64"), r"'achieved_goal' must be of floats, got torch.int64"),
    ],
)
def test_goals_that_do_not_fit_together_are_refused_at_construction(space, said):
    class Odd(Counter):
        observation_space = gymnasium.spaces.Dict({**Counter.observation_space.spaces, "achieved_goal": space})

        def state(self):
            return {**super().state(), "achieved_goal": space.sample()}

    with pytest.raises(ValueError, match=said):
        make_goal_env(Odd, 1)


def test_workers_with_batched_physics_and_zero_environments_are_refused():
    with pytest.raises(ValueError, match=r"num_workers must be none with backend='batched', got 2"):
        make_goal_env("reach", 2, num_workers=2)
    with pytest.raises(ValueError, match="num_envs must be a positive integer, got 0"):
        make_goal_env("reach", 0)


def test_workers_share_the_environments_of_a_gymnasium_id():
    batches = []
    for workers in (0, 2):
        env = make_goal_env("reach", 2, backend="gymnasium", seed=0, num_workers=workers, start_method="fork")
        torch.manual_seed(0)
        batches.append(env.rollout(3))
        env.close()
    assert (batches[0] == batches[1]).all()


def test_arguments_that_a_function_would_never_see_are_refused():
    with pytest.raises(ValueError, match=r"make_goal_env: kwargs must be none with a function.*'num_worker'"):
        make_goal_env(lambda: BitFlipEnv(4), 2, num_worker=2)
