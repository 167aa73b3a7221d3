"""Bit Flipping: the rules of the game, TorchRL's contract, seeds and devices."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torchrl.collectors import Collector
from torchrl.envs import check_env_specs

from tests.cases import bitwise_equal
from torchrl_htrpo.envs import BitFlipEnv


def test_passes_check_env_specs(device):
    check_env_specs(BitFlipEnv(5, num_envs=3, seed=0, device=device), break_when_any_done="both")


def test_an_action_flips_its_bit_and_no_other():
    batch = BitFlipEnv(6, num_envs=20, seed=0).rollout(6)
    for before, action, after in zip(
        batch["observation"].reshape(-1, 6),
        batch["action"].flatten(),
        batch["next", "observation"].reshape(-1, 6),
        strict=True,
    ):
        expected = before.tolist()
        expected[action] = 1 - expected[action]
        assert after.tolist() == expected
    assert torch.equal(batch["next", "achieved_goal"], batch["next", "observation"])


def test_an_episode_starts_from_zeros_and_lasts_as_many_steps_as_bits():
    batch = BitFlipEnv(4, num_envs=7, seed=0).rollout(100)
    assert batch.shape == (7, 4) and not batch["observation"][:, 0].any()
    assert torch.equal(batch["next", "truncated"][..., 0], (torch.arange(4) == 3).expand(7, 4))
    assert not batch["next", "terminated"].any()
    assert (batch["desired_goal"] == batch["desired_goal"][:, :1]).all()


def test_reward_and_success_follow_the_goal():
    batch = BitFlipEnv(2, num_envs=200, seed=0).rollout(2)
    success = (batch["next", "observation"] == batch["desired_goal"]).all(-1, keepdim=True)
    assert torch.equal(batch["next", "is_success"], success) and success.any() and not success.all()
    assert torch.equal(batch["next", "reward"], success.float() - 1)


def test_goals_are_uniform_over_all_strings_but_the_one_an_episode_starts_from():
    goals = BitFlipEnv(3, num_envs=7000, seed=0).reset()["desired_goal"]
    counts = torch.bincount((goals @ torch.tensor([1.0, 2.0, 4.0])).long(), minlength=8)
    assert counts[0] == 0 and (counts[1:] - 1000).abs().max() < 147  # five standard deviations


@pytest.mark.parametrize("num_bits", [1, 62, 63, 100])
def test_any_number_of_bits_has_goals(num_bits):
    goals = BitFlipEnv(num_bits, num_envs=300, seed=0).reset()["desired_goal"]
    assert goals.shape == (300, num_bits) and set(goals.unique().tolist()) <= {0.0, 1.0} and goals.any(-1).all()
    assert num_bits == 1 or (goals.mean(0) - 0.5).abs().max() < 0.15  # five standard deviations


def test_a_seed_repeats_and_another_does_not():
    def goals(seed):
        return BitFlipEnv(16, num_envs=8, seed=seed).reset()["desired_goal"]

    assert torch.equal(goals(3), goals(3)) and not torch.equal(goals(3), goals(4))
    torch.manual_seed(1)
    one = goals(None)
    torch.manual_seed(2)
    assert not torch.equal(one, goals(None))


def test_a_restored_generator_repeats_the_goals():
    env = BitFlipEnv(16, num_envs=8, seed=3)
    env.reset()
    state = {key: value.clone() for key, value in env.rng_state().items()}
    coming = [env.reset()["desired_goal"] for _ in range(2)]
    env.set_rng_state(state)
    assert all(torch.equal(env.reset()["desired_goal"], goal) for goal in coming)
    assert not torch.equal(*coming)


def test_a_partial_reset_leaves_the_other_strings_alone():
    env = BitFlipEnv(4, num_envs=2, seed=0)
    state = env.rollout(2)["next"][:, -1].exclude("reward")
    ask = torch.tensor([[True], [False]])
    reset = env.reset(state.clone().set("_reset", ask))
    assert not reset["observation"][0].any() and reset["step_count"].flatten().tolist() == [0, 2]
    assert bitwise_equal(reset[1].select("observation", "desired_goal"), state[1].select("observation", "desired_goal"))


def test_a_collector_gives_whole_episodes():
    env = BitFlipEnv(4, num_envs=3, seed=0)
    batch = next(iter(Collector(env, env.rand_action, frames_per_batch=24, total_frames=24)))
    assert batch.shape == (3, 8)
    assert batch["next", "truncated"][..., 0].nonzero()[:, 1].tolist() == [3, 7] * 3
    assert not batch["observation"][:, 4].any()


def test_the_goal_task_is_equality_of_all_bits():
    task = BitFlipEnv(3).task("sparse", 2.0)
    td = TensorDict(
        desired_goal=torch.ones(1, 1, 3),
        next=TensorDict(achieved_goal=torch.ones(1, 1, 3), batch_size=[1, 1]),
        batch_size=[1, 1],
    )
    assert task.success(td).all() and task.compute_reward(td).item() == 2.0


@pytest.mark.parametrize("argument", ["num_bits", "num_envs"])
def test_sizes_must_be_positive(argument):
    with pytest.raises(ValueError, match=f"BitFlipEnv: {argument} must be a positive integer, got 0"):
        BitFlipEnv(**{"num_bits": 4, "num_envs": 2, argument: 0})
