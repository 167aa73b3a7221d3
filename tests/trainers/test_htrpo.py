"""HTRPO's update on its own, and a whole run from ten lines."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo import BitFlipEnv, DetourEnv, make_actor, make_critic
from torchrl_htrpo.modules import CategoricalHead, GaussianHead, GoalNormalizer
from torchrl_htrpo.trainers import HTRPOTrainer, encoder_of, hindsight_pipeline


def made(folder, **settings):
    torch.manual_seed(0)
    env = BitFlipEnv(4, num_envs=8, seed=0)
    actor, critic = make_actor(CategoricalHead(4), 8, (16,)), make_critic(8, (16,))
    given = {"horizon": 4, "total_steps": 64, "directory": folder, "critic_updates": 2} | settings
    return HTRPOTrainer(env, actor, critic, env.task(), **given)


def test_one_update_moves_the_policy_within_its_trust_region_and_the_critic(tmp_path):
    trainer = made(tmp_path)
    before = [parameter.clone() for parameter in (*trainer.actor.parameters(), *trainer.critic.parameters())]
    metrics = trainer.update(trainer.env.rollout(4, trainer.actor))
    after = (*trainer.actor.parameters(), *trainer.critic.parameters())
    assert metrics["step/accepted"] == 1 and 0 < metrics["step/divergence"] < 0.02
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True) if old.numel() > 1)


def test_replay_keeps_the_last_batches_first_in_first_out(tmp_path):
    trainer = made(tmp_path, replay_batches=2)
    batches = [trainer.env.rollout(4, trainer.actor) for _ in range(3)]
    stored = [trainer.remember(batch) for batch in batches]
    assert [len(batch) for batch in stored] == [8, 16, 16]
    kept = {tuple(goal) for goal in stored[-1]["desired_goal"].flatten(0, 1).tolist()}
    assert kept == {tuple(goal) for batch in batches[1:] for goal in batch["desired_goal"].flatten(0, 1).tolist()}
    assert "replay" in trainer.components() and made(tmp_path).replay is None


def test_episodes_that_end_early_are_split_automatically(tmp_path):
    trainer = made(tmp_path)
    batch = trainer.env.rollout(4, trainer.actor)
    assert trainer.trajectories(batch) is batch
    batch["collector", "traj_ids"] = torch.arange(8).unsqueeze(-1).expand(8, 4).clone()
    batch["collector", "traj_ids"][0, 2:] = 8
    batch["next", "done"][0, 1] = True
    split = trainer.trajectories(batch)
    assert len(split) == 9 and split["collector", "mask"].sum() == 32


def test_a_batch_of_broken_episodes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"batch_steps must be a multiple of num_envs \* horizon = 32, got 40"):
        made(tmp_path, batch_steps=40)


def test_the_encoder_of_the_policy_is_found_warmed_up_and_updated(tmp_path):
    env = DetourEnv(num_envs=4, horizon=5, seed=0)
    sizes = [env.observation_spec[key].shape[-1] for key in ("observation", "desired_goal")]
    encoder = GoalNormalizer(*sizes)
    actor = make_actor(GaussianHead(2), sum(sizes), (8,), encoder=encoder)
    critic = make_critic(sum(sizes), (8,), encoder=encoder)
    assert encoder_of(actor) is encoder
    pipeline = hindsight_pipeline(actor, critic, env.task())
    settings = {"horizon": 5, "total_steps": 60, "warmup_steps": 20, "critic_updates": 1, "directory": tmp_path}
    HTRPOTrainer(env, actor, critic, env.task(), pipeline=pipeline, **settings).train()
    assert encoder.observation.count == 60
