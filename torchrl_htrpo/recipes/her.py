"""Hindsight experience replay with DQN or DDPG on a goal task.

    python recipes/her.py task=reach
    python recipes/her.py task=bitflip env.num_bits=16
    python recipes/her.py task=reach agent=dqn +env.control=discrete

Losses, target networks, exploration and the replay buffer are TorchRL's; the hindsight is two transforms on episodes
drawn from the buffer. Source: https://arxiv.org/abs/1707.01495, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor
from torchrl import timeit
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose, EnvBase
from torchrl.objectives import DDPGLoss, LossModule, SoftUpdate

from torchrl_htrpo.envs import GoalTask
from torchrl_htrpo.hindsight import HindsightReplay
from torchrl_htrpo.modules import GoalNormalizer, make_normalizer
from torchrl_htrpo.modules.networks import Join
from torchrl_htrpo.recipes.agents import Agent
from torchrl_htrpo.recipes.bounded_td0 import BoundedTD0
from torchrl_htrpo.recipes.command import loop_settings, run_recipe
from torchrl_htrpo.recipes.htrpo import make_evaluator
from torchrl_htrpo.recipes.settings import HERConfig, validate
from torchrl_htrpo.records.checkpoints import StoredItems
from torchrl_htrpo.trainers import Evaluator, Trainer, descend, seed_everything
from torchrl_htrpo.trainers.base import Metrics

STORED = ("observation", "achieved_goal", "desired_goal", "action")
STORED_AFTER = ("observation", "achieved_goal", "desired_goal", "reward", "terminated", "truncated")


def main() -> None:
    """Train, configured by the command line."""
    run_recipe("her", train)


def train(cfg: DictConfig) -> str:
    """Train with a configuration; return the result as one line."""
    return build(cfg).train()


def build(cfg: DictConfig) -> HERTrainer:
    """Create the trainer of a configuration."""
    validate(cfg, HERConfig)
    seed_everything(cfg.seed)
    env, exam = (instantiate(cfg.env, seed=cfg.seed + offset) for offset in (0, 10_000))
    task = instantiate(cfg.goal_task)
    task.check(env)
    encode, agent = make_networks(cfg, env)
    bound_targets(agent.loss, task, cfg.gamma, cfg.success_terminates)
    return HERTrainer(cfg, env, task, encode, agent, make_evaluator(cfg, exam, task))


class HERTrainer(Trainer):
    """Store episodes, sample and relabel rows of them, and update the agent.

    Its ``encode`` maps observation and goal to ``features``, from which the agent acts and learns.
    """

    shown: ClassVar[Mapping[str, str]] = {"loss": "critic/loss"}

    def __init__(
        self,
        cfg: DictConfig,
        env: EnvBase,
        task: GoalTask,
        encode: TensorDictModule,
        agent: Agent,
        evaluator: Evaluator,
    ) -> None:
        self.cfg, self.task, self.encode, self.agent = cfg, task, encode, agent
        self.encode_next = TensorDictModule(
            encode.module, [("next", key) for key in encode.in_keys], [("next", "features")]
        )
        self.optimizer = torch.optim.Adam(agent.loss.parameters(), lr=cfg.lr)
        self.target = SoftUpdate(agent.loss, eps=cfg.polyak)
        actor, batch_steps = TensorDictSequential(encode, agent.policy), cfg.num_envs * cfg.horizon
        super().__init__(
            env,
            actor,
            collecting_actor=TensorDictSequential(actor, *agent.noise),
            batch_steps=batch_steps,
            evaluator=evaluator,
            save_every=cfg.save_every,
            **loop_settings(cfg),
        )
        self.updates = max(round(cfg.updates_per_step * batch_steps), 1)
        rows, ends = self.updates * cfg.batch_size, cfg.success_terminates
        hindsight = HindsightReplay(task, rows, share=cfg.hindsight_share, success_terminates=ends)
        self.replay = ReplayBuffer(
            storage=LazyTensorStorage(cfg.buffer_steps // cfg.horizon, device=cfg.device),
            transform=Compose(instantiate(cfg.hindsight), hindsight),
            batch_size=cfg.replay_episodes,
        )

    def update(self, batch: TensorDictBase) -> Metrics:
        """Store the episodes of a batch, then update on rows of stored episodes."""
        batch = batch.reshape(-1, self.cfg.horizon)
        self.replay.extend(batch.select(*STORED, *(("next", key) for key in STORED_AFTER)))
        if isinstance(self.encode.module, GoalNormalizer):
            self.encode.module.update(batch["observation"], batch["next", "achieved_goal"], batch["desired_goal"])
        with timeit("replay"):
            rows = self.encode_next(self.encode(self.replay.sample()))
        with timeit("update"):
            losses = TensorDict()
            for index, part in enumerate(rows.split(self.cfg.batch_size), self.run.iterations * self.updates + 1):
                losses = self.agent.loss(part)
                descend(self.optimizer, total(losses))
                if index % self.cfg.target_every == 0:
                    self.target.step()
        return {
            "train/success": self.task.success(batch).any(-1).float().mean().item(),
            "hindsight/reached_share": self.task.success(rows).float().mean().item(),
            "critic/loss": losses["loss_value" if "loss_value" in losses else "loss"].item(),
        }

    def components(self) -> dict[str, object]:
        """Networks with their targets, the optimizer, the stored episodes and the environment's random state."""
        learner = {"loss": self.agent.loss, "optimizer": self.optimizer, "buffer": StoredItems(self.replay)}
        return super().components() | learner


def make_networks(cfg: DictConfig, env: EnvBase) -> tuple[TensorDictModule, Agent]:
    """Create the encoder of observation and goal, and the agent.

    The encoder is outside the loss: TorchRL's target updates do not copy buffers, so a normaliser inside the target
    networks would keep its first statistics.
    """
    sizes = [env.observation_spec[key].shape[-1] for key in ("observation", "desired_goal")]
    join = make_normalizer(env, cfg.input_clip) if cfg.normalize else Join()
    encode = TensorDictModule(join, ["observation", "desired_goal"], ["features"]).to(cfg.device)
    return encode, instantiate(cfg.agent)(env, sum(sizes), cfg.hidden_sizes, cfg.device)


def bound_targets(loss: LossModule, task: GoalTask, gamma: float, success_terminates: bool) -> None:
    """Give a loss one-step targets within the range of the task's returns; a final success pays once."""
    low, high = task.reward_range
    low, high = low / (1 - gamma), high if success_terminates else high / (1 - gamma)
    network = loss.actor_critic if isinstance(loss, DDPGLoss) else loss.value_network
    loss.make_value_estimator(BoundedTD0, gamma=gamma, value_network=network, low=low, high=high)
    loss.set_keys()  # passes the loss's keys to the estimator


def total(losses: TensorDictBase) -> Tensor:
    """Sum the terms of a loss; the other entries are diagnostics."""
    return torch.stack([value for key, value in losses.items() if key.startswith("loss")]).sum()
