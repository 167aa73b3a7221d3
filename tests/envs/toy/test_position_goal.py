"""What the small position tasks share: TorchRL's contract, whole episodes, seeds."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torchrl.collectors import Collector
from torchrl.envs import check_env_specs

from tests.cases import bitwise_equal
from torchrl_htrpo.envs import BitFlipEnv, DetourEnv, GearShiftEnv, GridMazeEnv, HiddenGapEnv


def bit_flip(num_envs=1, horizon=16, **kwargs):
    return BitFlipEnv(horizon, num_envs, **kwargs)


def maze(num_envs=1, horizon=32, **kwargs):
    return GridMazeEnv("empty_room", num_envs, horizon, **kwargs)


CLASSES = [DetourEnv, GearShiftEnv, HiddenGapEnv]
every_class = pytest.mark.parametrize("env_class", CLASSES)
every_env = pytest.mark.parametrize("make", [*CLASSES, bit_flip, maze])


@every_env
def test_passes_check_env_specs(make, device):
    check_env_specs(make(3, 5, seed=0, device=device), break_when_any_done="both")


@every_env
def test_an_episode_has_exactly_its_horizon_and_one_goal(make):
    batch = make(7, 6, seed=0).rollout(100)
    assert batch.shape == (7, 6) and not batch["next", "terminated"].any()
    assert torch.equal(batch["next", "truncated"][..., 0], (torch.arange(6) == 5).expand(7, 6))
    assert (batch["desired_goal"] == batch["desired_goal"][:, :1]).all()
    assert torch.equal(batch["next", "achieved_goal"][:, :-1], batch["achieved_goal"][:, 1:])


@every_env
def test_no_goal_holds_at_the_start(make):
    env = make(2000, seed=0)
    first = env.reset()
    assert not first["is_success"].any()
    assert not env.reached(first["achieved_goal"], first["desired_goal"]).any()


@every_class
def test_reward_and_success_are_nearness(env_class):
    env = env_class(4, 3, seed=0, threshold=0.5)
    batch = env.rollout(3)
    near = (batch["next", "achieved_goal"] - batch["desired_goal"]).norm(dim=-1, keepdim=True) < 0.5
    assert torch.equal(batch["next", "is_success"], near) and torch.equal(batch["next", "reward"], near.float() - 1)
    assert torch.equal(env.task().success(batch), near.squeeze(-1))


@every_env
def test_a_seed_repeats_and_another_does_not(make):
    def goals(seed):
        return make(8, seed=seed).reset()["desired_goal"]

    assert torch.equal(goals(3), goals(3)) and not torch.equal(goals(3), goals(4))
    torch.manual_seed(1)
    one = goals(None)
    torch.manual_seed(2)
    assert not torch.equal(one, goals(None))


@every_env
def test_a_restored_generator_repeats_the_goals(make):
    env = make(8, seed=3)
    env.reset()
    state = {key: value.clone() for key, value in env.rng_state().items()}
    coming = [env.reset()["desired_goal"] for _ in range(2)]
    env.set_rng_state(state)
    assert all(torch.equal(env.reset()["desired_goal"], goal) for goal in coming)
    assert not torch.equal(*coming)


@every_env
def test_a_partial_reset_leaves_the_others_alone(make):
    env = make(2, seed=0)
    state = env.rollout(3)["next"][:, -1].exclude("reward")
    reset = env.reset(state.clone().set("_reset", torch.tensor([[True], [False]])))
    assert reset["step_count"].flatten().tolist() == [0, 3]
    keys = ("observation", "desired_goal", "achieved_goal")
    assert bitwise_equal(reset[1].select(*keys), state[1].select(*keys))
    assert torch.equal(reset["achieved_goal"][0], env.reset()["achieved_goal"][0])


@every_env
def test_a_collector_gives_whole_episodes(make):
    env = make(3, 4, seed=0)
    batch = next(iter(Collector(env, env.rand_action, frames_per_batch=24, total_frames=24)))
    assert batch.shape == (3, 8)
    assert batch["next", "truncated"][..., 0].nonzero()[:, 1].tolist() == [3, 7] * 3


def test_a_step_counts_and_keeps_the_goal():
    env = DetourEnv(2, seed=0)
    td = env.reset()
    out = env.step(TensorDict(action=torch.ones(2, 2), batch_size=[2]).update(td))["next"]
    assert out["step_count"].flatten().tolist() == [1, 1] and torch.equal(out["desired_goal"], td["desired_goal"])
