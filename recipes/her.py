"""Hindsight experience replay with DQN or DDPG, read from top to bottom; the recipes beside it are its configurations.

Losses, target networks, exploration and the replay buffer are TorchRL's; the hindsight is two transforms on episodes
drawn from the buffer. Source: https://arxiv.org/abs/1707.01495, Algorithm 1.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from settings import check, lasting
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torchrl import timeit
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose, EnvBase, TransformedEnv
from torchrl.modules import MLP, AdditiveGaussianModule, EGreedyModule, QValueModule, TanhModule, ValueOperator
from torchrl.objectives import DDPGLoss, DQNLoss, LossModule, SoftUpdate

from torchrl_htrpo import (
    ActionCostDDPGLoss,
    BoundedTD0,
    EnvRandomness,
    FiniteGuard,
    GoalNormalizer,
    GoalTask,
    HindsightReplay,
    Run,
    StoredItems,
    action_features,
    evaluate,
)

STORED = ("observation", "achieved_goal", "desired_goal", "action")
STORED_AFTER = ("observation", "achieved_goal", "desired_goal", "reward", "terminated", "truncated")


@dataclass(frozen=True)
class Agent:
    """What differs between the agents, all of which act on ``features`` of the (observation, goal) pair.

    Args:
        policy: the greedy policy.
        noise: what exploration does to its action.
        loss: TorchRL's, with its target networks.
    """

    policy: TensorDictSequential
    noise: Sequence[nn.Module]
    loss: LossModule


def train(cfg: DictConfig) -> str:
    """Train as configured; return the run in one line."""
    check(cfg)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(cfg.seed)

    # 1. The task, once to learn in and once to be examined in.
    finite = FiniteGuard()
    env, exam = (TransformedEnv(instantiate(cfg.env, seed=cfg.seed + offset), FiniteGuard()) for offset in (0, 10_000))
    task = instantiate(cfg.goal_task)
    task.check(env)

    # 2. The policy, its loss, and how both move.
    encode, actor, agent = make_networks(cfg, env)
    encode_next = TensorDictModule(encode.module, [("next", key) for key in encode.in_keys], [("next", "features")])
    bound_targets(agent.loss, task, cfg.gamma, cfg.success_terminates)
    optimizer, target = torch.optim.Adam(agent.loss.parameters(), lr=cfg.lr), SoftUpdate(agent.loss, eps=cfg.polyak)

    # 3. Whole episodes, explored.
    batch_steps = cfg.num_envs * cfg.horizon
    collector = Collector(
        env,
        TensorDictSequential(actor, *agent.noise),
        frames_per_batch=batch_steps,
        total_frames=-1,
        env_device=env.device,
        policy_device=cfg.device,
        storing_device=cfg.device,
        reset_at_each_iter=True,
        auto_register_policy_transforms=False,
    )

    # 4. They are stored whole. What comes out are the rows of all updates of an iteration, a share of them relabelled.
    updates = max(round(cfg.updates_per_step * batch_steps), 1)
    replay = HindsightReplay(
        task, updates * cfg.batch_size, share=cfg.hindsight_share, success_terminates=cfg.success_terminates
    )
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(cfg.buffer_steps // cfg.horizon, device=cfg.device),
        transform=Compose(instantiate(cfg.hindsight), replay),
        batch_size=cfg.replay_episodes,
    )

    # 5. The record; go on from a checkpoint.
    directory = Path(cfg.resume or HydraConfig.get().runtime.output_dir)
    components = {
        "actor": actor,
        "loss": agent.loss,
        "optimizer": optimizer,
        "buffer": StoredItems(buffer),
        "env": EnvRandomness(env),
    }
    run = Run(directory, cfg.total_steps, name=cfg.name, components=components, backend=cfg.logger, config=lasting(cfg))
    steps = run.restore() if cfg.resume else run.begin()

    # 6. Iterate: collect, move the statistics, relabel, update, examine.
    batches, enough = iter(collector), cfg.target_success or 2
    last = bool(cfg.resume) and (steps + batch_steps > cfg.total_steps or run.success >= enough)
    with closing(env), closing(exam), run:
        while not (last or run.stop):
            with timeit("collect"):
                batch = finite(next(batches)).reshape(-1, cfg.horizon)
                buffer.extend(batch.select(*STORED, *(("next", key) for key in STORED_AFTER)))
            if cfg.normalize:
                encode.module.update(batch["observation"], batch["next", "achieved_goal"], batch["desired_goal"])
            with timeit("replay"):
                rows = encode_next(encode(buffer.sample()))
            with timeit("update"):
                for index, part in enumerate(rows.split(cfg.batch_size), run.iterations * updates + 1):
                    losses = agent.loss(part)
                    optimizer.zero_grad()
                    total(losses).backward()
                    # Clips nothing: stops at NaN.
                    clip_grad_norm_(agent.loss.parameters(), inf, error_if_nonfinite=True)
                    optimizer.step()
                    if index % cfg.target_every == 0:
                        target.step()

            steps += batch.numel()
            last = steps + batch_steps > cfg.total_steps
            metrics = {
                "train/success": task.success(batch).any(-1).float().mean().item(),
                "hindsight/reached_share": task.success(rows).float().mean().item(),
                "critic/loss": losses["loss_value" if "loss_value" in losses else "loss"].item(),
            }
            examined = last or run.iterations % cfg.eval_every == 0
            if examined:
                with timeit("evaluate"):
                    episodes = cfg.final_episodes if last else cfg.eval_episodes
                    evaluation = evaluate(
                        exam, actor, task, episodes=episodes, horizon=cfg.horizon, seed=cfg.seed + 10_000
                    )
                metrics |= {f"eval/{name}": figure for name, figure in evaluation.metrics().items()}
                last = last or evaluation.success >= enough
            metrics |= timeit.todict(prefix="time")
            timeit.erase()
            run.log(steps, metrics)
            run.show(success=run.success, loss=metrics["critic/loss"])
            if last or run.stop or run.iterations % cfg.save_every == 0:
                run.save()
            if examined:
                run.draw()
    print(f"checkpoints, metrics.csv and learning_curve.png are in {directory}")
    return run.result()


def make_networks(cfg: DictConfig, env: EnvBase) -> tuple[TensorDictModule, TensorDictSequential, Agent]:
    """What turns observation and goal into features, the policy on top of it, and the rest of the agent.

    The features are made outside the loss: TorchRL's target updates leave buffers alone, so a normaliser inside the
    target networks would keep the statistics it was born with.
    """
    sizes = [env.observation_spec[key].shape[-1] for key in ("observation", "desired_goal")]
    join = GoalNormalizer(*sizes, clip=cfg.input_clip) if cfg.normalize else Join()
    encode = TensorDictModule(join, ["observation", "desired_goal"], ["features"]).to(cfg.device)
    agent = instantiate(cfg.agent)(env, sum(sizes), cfg.hidden_sizes, cfg.device)
    return encode, TensorDictSequential(encode, agent.policy), agent


class Join(nn.Module):
    """Features without a normaliser."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Join along the last dimension."""
        return torch.cat(inputs, -1)


def make_dqn(env: EnvBase, size: int, hidden: Sequence[int], device: str, epsilon: float) -> Agent:
    """Double DQN, exploring with a random action now and then."""
    spec, count = env.action_spec_unbatched.to(device), action_features(env.action_spec)
    q_values = MLP(size, count, num_cells=list(hidden), activation_class=nn.ReLU, device=device)
    policy = TensorDictSequential(
        TensorDictModule(q_values, ["features"], ["action_value"]), QValueModule(spec=spec, action_space="categorical")
    )
    loss = DQNLoss(policy, action_space="categorical", delay_value=True, double_dqn=True)
    return Agent(policy, [EGreedyModule(spec, epsilon, epsilon, device=device)], loss)


def make_ddpg(
    env: EnvBase,
    size: int,
    hidden: Sequence[int],
    device: str,
    epsilon: float,
    sigma: float,
    action_cost: float,
) -> Agent:
    """DDPG, exploring with a random action now and then and Gaussian noise otherwise; large actions cost."""
    spec, count = env.action_spec_unbatched.to(device), action_features(env.action_spec)
    layers = {"num_cells": list(hidden), "activation_class": nn.ReLU, "device": device}
    policy = TensorDictSequential(
        TensorDictModule(MLP(size, count, **layers), ["features"], ["param"]),
        TanhModule(in_keys=["param"], out_keys=["action"], spec=spec),
    )
    critic = ValueOperator(MLP(size + count, 1, **layers), ["features", "action"])
    loss = ActionCostDDPGLoss(policy, critic, action_cost=action_cost, delay_actor=True, delay_value=True)
    noise = [
        AdditiveGaussianModule(spec, sigma_init=sigma, sigma_end=sigma, device=device),
        EGreedyModule(spec, epsilon, epsilon, device=device),
    ]
    return Agent(policy, noise, loss)


def bound_targets(loss: LossModule, task: GoalTask, gamma: float, success_terminates: bool) -> None:
    """Give a loss one-step targets within what the rewards of the task add up to; an end at a success pays it once."""
    low, high = task.reward_range
    low, high = low / (1 - gamma), high if success_terminates else high / (1 - gamma)
    network = loss.actor_critic if isinstance(loss, DDPGLoss) else loss.value_network
    loss.make_value_estimator(BoundedTD0, gamma=gamma, value_network=network, low=low, high=high)
    loss.set_keys()  # tells the estimator where the loss keeps its values


def total(losses: TensorDict) -> Tensor:
    """The sum of a loss's terms; its other entries are diagnostics."""
    return sum(value for key, value in losses.items() if key.startswith("loss"))
