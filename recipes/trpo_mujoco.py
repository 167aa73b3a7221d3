"""TRPO, QKL-TRPO, and TRPO with the plain sampled KL, on ordinary (not goal-conditioned) gymnasium tasks.

    python recipes/trpo_mujoco.py env=Hopper-v5
    python recipes/trpo_mujoco.py env=Swimmer-v5 divergence=kl
    python recipes/trpo_mujoco.py env=CartPole-v1 head=one_hot

The same objective and optimizer as HTRPO's, on the batch as it was collected. Every key is in
``config/trpo_mujoco.yaml``; the last line printed is machine-readable. Source: https://arxiv.org/abs/1502.05477, and
https://arxiv.org/abs/1907.12439, Figure 8.
"""

from __future__ import annotations

import random
from contextlib import closing
from functools import partial
from math import inf
from pathlib import Path

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from settings import check, lasting, refuse_unknown_keys
from torch.nn.utils import clip_grad_norm_
from torchrl import timeit
from torchrl.collectors import Collector
from torchrl.envs import Compose, EnvBase, GymEnv, RewardSum, StepCounter, TransformedEnv
from torchrl.objectives.value import GAE

from torchrl_htrpo import (
    EnvBatch,
    EnvRandomness,
    FiniteGuard,
    Run,
    RunningNormalizer,
    TrustRegionObjective,
    action_features,
    make_actor,
    make_critic,
)


@hydra.main(version_base="1.3", config_path="config", config_name="trpo_mujoco")
def main(cfg: DictConfig) -> None:
    """Train on an ordinary MuJoCo task."""
    print(train(cfg))


def train(cfg: DictConfig) -> str:
    """Train as configured; return the run in one line."""
    check(cfg)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(cfg.seed)

    # 1. The task; the policy and the critic share a normaliser.
    finite, env = FiniteGuard(), make_env(cfg)
    size, keys = env.observation_spec["observation"].shape[-1], ["observation"]
    normalizer = RunningNormalizer(size, cfg.input_clip)
    head = instantiate(cfg.head, action_features(env.action_spec))
    actor = make_actor(head, size, cfg.hidden_sizes, normalizer=normalizer, in_keys=keys).to(cfg.device)
    critic = make_critic(size, cfg.hidden_sizes, normalizer=normalizer, in_keys=keys).to(cfg.device)

    # 2. Advantages, what to improve, and how to move.
    advantage = GAE(gamma=cfg.gamma, lmbda=cfg.lmbda, value_network=critic, average_gae=True)
    objective = TrustRegionObjective(actor, critic, divergence=instantiate(cfg.divergence), chunk_size=cfg.chunk_rows)
    optimizer = instantiate(cfg.trust_region, objective.trainable_params)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=cfg.critic.lr)

    # 3. Collect, step, fit the critic, move the statistics.
    collector = Collector(
        env,
        actor,
        frames_per_batch=cfg.batch_steps,
        total_frames=-1,
        env_device=env.device,
        policy_device=cfg.device,
        storing_device=cfg.device,
        reset_at_each_iter=cfg.reset_each_batch,
        auto_register_policy_transforms=False,
    )
    directory = Path(cfg.resume or HydraConfig.get().runtime.output_dir)
    components = {
        "actor": actor,
        "critic": critic,
        "critic_optimizer": critic_optimizer,
        "env": EnvRandomness(env),
    }
    run = Run(
        directory,
        cfg.total_steps,
        name=cfg.name,
        components=components,
        backend=cfg.logger,
        headline="train/episode_return",
        config=lasting(cfg),
    )
    run.progress["episode_return"] = float("nan")
    steps, batches = run.restore() if cfg.resume else run.begin(), iter(collector)
    with closing(env), run:
        while steps < cfg.total_steps and not run.stop:
            with timeit("collect"):
                batch = finite(next(batches))
            with timeit("policy"):
                advantage(batch)
                result = optimizer.step(objective.problem(batch))
            with timeit("critic"):
                rows = batch.reshape(-1)
                for _ in range(cfg.critic.epochs):
                    for part in torch.randperm(len(rows), device=rows.device).split(cfg.critic.batch_size):
                        loss = objective.loss_critic(rows[part])
                        critic_optimizer.zero_grad()
                        loss.backward()
                        clip_grad_norm_(
                            critic.parameters(), inf, error_if_nonfinite=True
                        )  # clips nothing: stops at NaN
                        critic_optimizer.step()
            normalizer.update(batch["observation"])

            steps += batch.numel()
            ended = batch["next", "done"].squeeze(-1)
            metrics = {
                "train/entropy": -batch["action_log_prob"].mean().item(),
                "critic/loss": loss.item(),
                **{f"step/{key}": figure for key, figure in result.metrics().items()},
            }
            if ended.any():
                run.progress["episode_return"] = batch["next", "episode_reward"][ended].mean().item()
                metrics["train/episode_return"] = run.progress["episode_return"]
                metrics["train/episode_length"] = batch["next", "step_count"][ended].float().mean().item()
            run.log(steps, metrics | timeit.todict(prefix="time"))
            timeit.erase()
            run.show(episode_return=run.progress["episode_return"], kl=result.divergence)
            run.save()
        run.draw()
    print(f"checkpoints, metrics.csv and learning_curve.png are in {directory}")
    return f"RESULT return={run.progress['episode_return']:.1f} env_steps={steps} seconds={run.progress['seconds']:.0f}"


def make_env(cfg: DictConfig) -> EnvBase:
    """A few environments one after another; on few cores processes cost more than they bring."""
    envs = EnvBatch([partial(GymEnv, cfg.env)] * cfg.num_envs, seed=cfg.seed, device="cpu")
    return TransformedEnv(envs, Compose(FiniteGuard(), RewardSum(), StepCounter()))


if __name__ == "__main__":
    refuse_unknown_keys("trpo_mujoco")
    main()
