"""Bit Flipping: the rules of the game."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.envs import BitFlipEnv


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


def test_the_goal_task_is_equality_of_all_bits():
    task = BitFlipEnv(3).task("sparse", 2.0)
    td = TensorDict(
        desired_goal=torch.ones(1, 1, 3),
        next=TensorDict(achieved_goal=torch.ones(1, 1, 3), batch_size=[1, 1]),
        batch_size=[1, 1],
    )
    assert task.success(td).all() and task.compute_reward(td).item() == 2.0
