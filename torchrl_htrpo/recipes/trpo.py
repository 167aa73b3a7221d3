"""TRPO, QKL-TRPO, and TRPO with the plain sampled KL, on ordinary (not goal-conditioned) gymnasium tasks.

    python recipes/trpo.py env=Hopper-v5
    python recipes/trpo.py env=Swimmer-v5 divergence=kl
    python recipes/trpo.py env=CartPole-v1 head=one_hot

The same objective and optimizer as HTRPO's, on the batch as it was collected. Source:
https://arxiv.org/abs/1502.05477, and https://arxiv.org/abs/1907.12439, Figure 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import ClassVar

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from tensordict import TensorDictBase
from torch import nn
from torchrl import timeit
from torchrl.envs import Compose, EnvBase, GymEnv, RewardSum, StepCounter, TransformedEnv
from torchrl.objectives.value import GAE

from torchrl_htrpo._extras import named_extra
from torchrl_htrpo.envs import EnvBatch
from torchrl_htrpo.modules import RunningNormalizer, make_actor, make_critic
from torchrl_htrpo.objectives import TrustRegionObjective
from torchrl_htrpo.objectives.divergence import check_divergence
from torchrl_htrpo.recipes.command import loop_settings, run_recipe
from torchrl_htrpo.recipes.settings import TRPOConfig, validate
from torchrl_htrpo.records.quiet_run import QuietRun
from torchrl_htrpo.trainers import Trainer, descend, seed_everything
from torchrl_htrpo.trainers.base import Metrics


def main() -> None:
    """Train, configured by the command line."""
    run_recipe("trpo", train)


def train(cfg: DictConfig) -> str:
    """Train with a configuration; return the result as one line."""
    validate(cfg, TRPOConfig)
    seed_everything(cfg.seed)
    return TRPOTrainer(cfg, make_env(cfg)).train()


def make_env(cfg: DictConfig) -> EnvBase:
    """Create environments that run in this process: workers cost more than they save here."""
    with named_extra(f"env={cfg.env}"):
        import_module("gymnasium")
    envs = EnvBatch([partial(GymEnv, cfg.env)] * cfg.num_envs, seed=cfg.seed, device="cpu")
    return TransformedEnv(envs, Compose(RewardSum(), StepCounter()))


class TRPOTrainer(Trainer):
    """Collect, step within the trust region, fit the critic; ``env`` has ``episode_reward`` and ``step_count``."""

    headline = "train/episode_return"
    shown: ClassVar[Mapping[str, str]] = {"return": "train/episode_return", "KL": "step/divergence"}

    def __init__(self, cfg: DictConfig, env: EnvBase) -> None:
        self.settings, keys = cfg.critic, ["observation"]
        size = env.observation_spec["observation"].shape[-1]
        self.encoder = RunningNormalizer(size, cfg.input_clip)
        networks = {"hidden_sizes": cfg.hidden_sizes, "encoder": self.encoder, "in_keys": keys}
        actor = make_actor(instantiate(cfg.head), env, **networks).to(cfg.device)
        self.critic: nn.Module = make_critic(env, **networks).to(cfg.device)
        self.advantage = GAE(gamma=cfg.gamma, lmbda=cfg.lmbda, value_network=self.critic, average_gae=True)
        divergence = instantiate(cfg.divergence)
        self.objective = TrustRegionObjective(actor, self.critic, divergence=divergence, chunk_size=cfg.chunk_rows)
        self.optimizer = instantiate(cfg.trust_region)(self.objective.trainable_params)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=cfg.critic.lr)
        resets = cfg.reset_each_batch
        super().__init__(env, actor, batch_steps=cfg.batch_steps, reset_each_batch=resets, **loop_settings(cfg))
        check_divergence(self.objective.divergence, actor, env)

    def update(self, batch: TensorDictBase) -> Metrics:
        """One iteration of TRPO."""
        with timeit("policy"):
            self.advantage(batch)
            result = self.optimizer.step(self.objective.problem(batch))
        with timeit("critic"):
            loss = self.fit_critic(batch.reshape(-1))
        self.encoder.update(batch["observation"])
        return {
            "train/entropy": -batch["action_log_prob"].mean().item(),
            "critic/loss": loss,
            **{f"step/{key}": figure for key, figure in result.metrics().items()},
            **self.episode_metrics(batch),
        }

    def fit_critic(self, rows: TensorDictBase) -> float:
        """Fit the critic for some epochs; return the last loss."""
        loss = torch.tensor(torch.nan)
        for _ in range(self.settings.epochs):
            for part in torch.randperm(len(rows), device=rows.device).split(self.settings.batch_size):
                loss = self.objective.loss_critic(rows[part])
                descend(self.critic_optimizer, loss)
        return loss.item()

    def episode_metrics(self, batch: TensorDictBase) -> Metrics:
        """Return and length of the episodes that ended in a batch; empty if none did."""
        ended = batch["next", "done"].squeeze(-1)
        if not ended.any():
            return {}
        self.run.progress["episode_return"] = batch["next", "episode_reward"][ended].mean().item()
        length = batch["next", "step_count"][ended].float().mean().item()
        return {"train/episode_return": self.run.progress["episode_return"], "train/episode_length": length}

    def components(self) -> dict[str, object]:
        """Networks, the critic's optimizer and the environment's random state."""
        return super().components() | {"critic": self.critic, "critic_optimizer": self.critic_optimizer}

    def is_over(self, steps: int) -> bool:
        """Whether the budget is used; the last batch may exceed it."""
        return steps >= self.total_steps

    def make_run(self) -> QuietRun:
        """Create the record of the run, with the last return as its headline."""
        run = super().make_run()
        run.progress["episode_return"] = float("nan")
        return run

    def result(self) -> str:
        """The result of the run as one machine-readable line."""
        found = self.run.progress
        return (
            f"RESULT return={found['episode_return']:.1f} env_steps={found['steps']:.0f} seconds={found['seconds']:.0f}"
        )
