"""FetchEnv honours the TorchRL contract and draws each world's goals from its own stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict, assert_close
from torchrl.envs import check_env_specs

from torchrl_htrpo.envs.fetch.engine import DivergedError
from torchrl_htrpo.envs.fetch.env import FetchEnv
from torchrl_htrpo.envs.fetch.tasks import TASK_NAMES

DISCRETE = [(task, "discrete") for task in ("reach", "push", "slide")]
MIXED = [("reach", "mixed"), ("pick_and_place", "mixed")]


@pytest.mark.parametrize(("task", "control"), [(task, "continuous") for task in TASK_NAMES] + DISCRETE + MIXED)
def test_passes_check_env_specs(task, control):
    check_env_specs(FetchEnv(task, 3, control=control, horizon=4, seed=0), break_when_any_done="both")


@pytest.mark.parametrize(("task", "size"), [("reach", 10), ("push", 25), ("slide", 25), ("pick_and_place", 25)])
def test_keys_shapes_and_dtypes(task, size):
    batch = FetchEnv(task, 2, horizon=3, seed=0, dtype=torch.float64).rollout(3)
    assert batch["observation"].shape == (2, 3, size) and batch["observation"].dtype == torch.float64
    assert batch["desired_goal"].shape == batch["next", "achieved_goal"].shape == (2, 3, 3)
    assert batch["next", "is_success"].shape == (2, 3, 1) and batch["is_success"].dtype == torch.bool
    assert batch["next", "reward"].shape == (2, 3, 1) and batch["action"].shape == (2, 3, 4)


def test_discrete_control_appends_the_velocity():
    env = FetchEnv("push", 1, control="discrete", seed=0, dtype=torch.float64)
    state = env.reset()
    assert state["observation"].shape == (1, 29) and not state["observation"][:, 25:].any()
    state = env.step(state.set("action", torch.tensor([1])))["next"]
    assert state["observation"][0, 25:].tolist() == [0.0, 0.1, 0.0, 0.0]


def test_mixed_control_moves_as_the_continuous_action_it_stands_for():
    mixed, plain = (FetchEnv("pick_and_place", 2, control=control, seed=0) for control in ("mixed", "continuous"))
    one, other = mixed.reset(), plain.reset()
    for gripper in ([1, 1], [1, 0], [0, 1], [0, 0]):
        motion, choice = 2 * torch.rand(2, 3) - 1, torch.tensor(gripper)
        one["action"] = TensorDict(motion=motion, gripper=choice, batch_size=2)
        other["action"] = torch.cat((motion, 2.0 * choice.unsqueeze(-1) - 1), -1)
        one, other = mixed.step(one)["next"], plain.step(other)["next"]
        assert torch.equal(one["observation"], other["observation"])
    assert (one["observation"][:, 9:11] - mixed.reset()["observation"][:, 9:11]).abs().max() > 1e-3  # fingers moved


def test_rewards_follow_the_goal():
    batch = FetchEnv("reach", 16, horizon=20, seed=0, dtype=torch.float64).rollout(20)
    distance = (batch["next", "achieved_goal"] - batch["desired_goal"]).norm(dim=-1, keepdim=True)
    assert torch.equal(batch["next", "is_success"], distance < 0.05)
    assert torch.equal(batch["next", "reward"], -(distance >= 0.05).double())
    assert batch["next", "is_success"].any() and not batch["next", "terminated"].any()


def test_episodes_are_truncated_at_the_horizon_with_their_last_observation():
    env = FetchEnv("push", 2, horizon=4, seed=0)
    batch = env.rollout(9, break_when_any_done=False)
    assert batch["next", "truncated"][0, :, 0].tolist() == [False, False, False, True] * 2 + [False]
    assert torch.equal(batch["next", "done"], batch["next", "truncated"])
    # the terminal observation still belongs to the old episode: same goal, and not the one of the new start
    assert torch.equal(batch["next", "desired_goal"][:, 3], batch["desired_goal"][:, 3])
    assert not torch.equal(batch["next", "observation"][:, 3], batch["observation"][:, 4])
    assert torch.equal(batch["next", "observation"][:, 2], batch["observation"][:, 3])


@pytest.mark.parametrize("task", ["push", "pick_and_place"])
def test_partial_reset_leaves_the_other_worlds_bit_equal(task):
    env = FetchEnv(task, 3, seed=0)
    state = env.rollout(5)[:, -1]["next"].exclude("reward")
    mask = torch.tensor([[False], [True], [False]])
    fresh = env.reset(state.clone().set("_reset", mask))
    for key in ("observation", "achieved_goal", "desired_goal", "is_success"):
        assert torch.equal(fresh[key][[0, 2]], state[key][[0, 2]]), key
    assert not torch.equal(fresh["desired_goal"][1], state["desired_goal"][1])


def test_worlds_reset_at_different_times_keep_their_own_counters():
    env = FetchEnv("reach", 2, horizon=4, seed=0)
    state = env.rollout(2)[:, -1]["next"].exclude("reward")
    env.reset(state.set("_reset", torch.tensor([[True], [False]])))
    assert env.rollout(2, auto_reset=False, tensordict=env.reset(state.set("_reset", torch.zeros(2, 1).bool())))[
        "next", "truncated"
    ][:, -1, 0].tolist() == [False, True]


def test_the_seed_determines_every_episode():
    first, again, other = (FetchEnv("slide", 2, horizon=3, seed=seed).reset() for seed in (3, 3, 4))
    assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["desired_goal"], other["desired_goal"])
    env = FetchEnv("slide", 2, seed=8)
    env.reset()
    env.set_seed(3)
    assert_close(env.reset(), first, rtol=0, atol=0)


def test_default_seed_comes_from_torch():
    goals = []
    for _ in range(2):
        torch.manual_seed(5)
        goals.append(FetchEnv("reach", 1).reset()["desired_goal"])
    assert torch.equal(*goals)


def test_a_world_does_not_depend_on_how_many_others_there_are():
    few, many = FetchEnv("push", 2, seed=1).reset(), FetchEnv("push", 5, seed=1).reset()
    assert_close(few, many[:2], rtol=0, atol=0)


def test_number_of_threads_changes_nothing():
    batches = []
    for threads in (1, 3):
        env = FetchEnv("push", 6, num_threads=threads, horizon=10, seed=2)
        torch.manual_seed(0)
        batches.append(env.rollout(15, break_when_any_done=False))
        env.close()
    assert_close(*batches, rtol=0, atol=0)


def test_rng_state_resumes_the_stream_of_goals():
    env = FetchEnv("push", 3, seed=6)
    env.reset()
    saved, expected = env.rng_state(), env.reset()
    fresh = FetchEnv("push", 3, seed=99)
    fresh.set_rng_state(saved)
    assert_close(fresh.reset(), expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match="FetchEnv: state"):
        FetchEnv("push", 2, seed=0).set_rng_state(saved)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "pull"}, "FetchEnv: task .*'pull'.*choices: 'reach', 'push', 'slide', 'pick_and_place'"),
        ({"engine": "bullet"}, "FetchEnv: engine .*'bullet'.*choices: 'mujoco', 'warp'"),
        ({"control": "analog"}, "FetchEnv: control .*'analog'.*choices: 'continuous', 'discrete'"),
        ({"num_envs": 0}, "FetchEnv: num_envs must be a positive integer, got 0"),
        ({"horizon": -1}, "FetchEnv: horizon must be a positive integer, got -1"),
        ({"num_threads": 0}, "FetchEnv: num_threads must be a positive integer, got 0"),
        ({"dtype": torch.int64}, "FetchEnv: dtype .*torch.int64.*torch.float32"),
        ({"engine": "warp", "num_threads": 2}, "FetchEnv: num_threads must be None with engine='warp'"),
    ],
)
def test_bad_arguments_are_refused_with_the_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        FetchEnv(**{"task": "push", **arguments})


def test_a_diverged_world_is_named_with_its_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning into a log file where it runs
    env = FetchEnv("push", 2, seed=0)
    state = env.rollout(3)[:, -1]["next"].exclude("reward")
    action = torch.zeros(2, 4)
    action[1] = float("nan")
    with pytest.raises(DivergedError, match=r"FetchEnv\('push'\).*world 1 at step 4"):
        env.step(state.set("action", action))


def test_goal_task_agrees_with_the_environment():
    env = FetchEnv("reach", 4, horizon=10, seed=0, dtype=torch.float64)
    batch = env.rollout(10)
    assert torch.equal(env.task("her").compute_reward(batch), batch["next", "reward"])


def test_render_shows_the_goal():
    env = FetchEnv("push", 2, seed=0)
    env.reset()
    try:
        image = env.render(world=1, width=64, height=48)
    except Exception as error:  # no OpenGL at all on this machine
        pytest.skip(f"no off-screen rendering here: {error}")
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8 and image.std() > 0
    before = env.engine.qpos
    env.render(world=1, width=64, height=48)
    assert np.array_equal(before, env.engine.qpos)
    with pytest.raises(ValueError, match="FetchEnv: world"):
        env.render(world=2)
    env.close()
