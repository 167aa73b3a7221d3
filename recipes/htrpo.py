"""Hindsight Trust Region Policy Optimization, read from top to bottom; the recipes beside it are its configurations.

Source: https://arxiv.org/abs/1907.12439, Algorithm 3.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from math import inf
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from settings import check, lasting
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch.nn.utils import clip_grad_norm_
from torchrl import timeit
from torchrl.collectors import Collector
from torchrl.collectors.utils import split_trajectories
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose, EnvBase, ExplorationType, TransformedEnv
from torchrl.modules import ValueOperator

from torchrl_htrpo import (
    CumulativeGoalRatio,
    EnvRandomness,
    FiniteGuard,
    GoalNormalizer,
    HindsightMetrics,
    HindsightRelabel,
    PixelGoalEncoder,
    PolicyMetrics,
    RowPruner,
    RowSampler,
    Run,
    RunningNormalizer,
    ShareStates,
    StateValue,
    StoredItems,
    TrustRegionObjective,
    action_features,
    evaluate,
    make_actor,
    make_critic,
    orthogonal_,
    use_onednn,
    weight_share,
)

Encoder = GoalNormalizer | PixelGoalEncoder | None
Encoders = tuple[Encoder, Encoder]
Networks = tuple[Encoder, ProbabilisticTensorDictSequential, ValueOperator]


def train(cfg: DictConfig) -> str:
    """Train as configured; return the run in one line."""
    check(cfg)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(cfg.seed)
    if cfg.onednn and torch.device(cfg.device).type == "cpu":
        use_onednn()

    # 1. The task, once to learn in and once to be examined in.
    finite = FiniteGuard()
    env, exam = (TransformedEnv(instantiate(cfg.env, seed=cfg.seed + offset), FiniteGuard()) for offset in (0, 10_000))
    task = instantiate(cfg.goal_task)
    task.check(env)

    # 2. Policy and critic share one normaliser.
    normalizer, actor, critic = make_networks(cfg, env)

    # 3. The data flow: goals, relabelling, weights; values, advantages; rows.
    hindsight = Compose(
        ShareStates(actor, critic),
        instantiate(cfg.goals, _partial_=True)(skip_held=task.reached if cfg.skip_held_goals else None),
        HindsightRelabel(task),
        CumulativeGoalRatio(
            actor,
            discount=cfg.gamma,
            weighted=cfg.weighted,
            per_decision=cfg.per_decision,
            finished=cfg.finished,
            normalization=cfg.normalization,
            chunk_size=cfg.chunk_rows,
        ),
    )
    value, advantage = StateValue(critic, chunk_size=cfg.chunk_rows), instantiate(cfg.advantage)
    prune = RowPruner(cfg.max_lost_share)
    gradient_rows = RowSampler(cfg.gradient_rows)
    curvature_rows = RowSampler(cfg.curvature_rows, priority=weight_share)
    critic_rows = RowSampler(cfg.critic.batch_size, uniform_share=1.0)

    # 4. What to improve, and how to move.
    objective = TrustRegionObjective(actor, critic, divergence=instantiate(cfg.divergence), chunk_size=cfg.chunk_rows)
    optimizer = instantiate(cfg.trust_region, objective.trainable_params)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=cfg.critic.lr)
    estimates = {name: divergence(actor) for name, divergence in instantiate(cfg.estimates).items()}

    # 5. Whole episodes, from the policy as it is.
    batch_steps = cfg.batch_steps or cfg.num_envs * cfg.horizon
    collector = Collector(
        env,
        actor,
        frames_per_batch=batch_steps,
        total_frames=-1,
        env_device=env.device,
        policy_device=cfg.device,
        storing_device=cfg.device,
        reset_at_each_iter=True,
        auto_register_policy_transforms=False,
    )

    # The last batches, as they were collected: importance weights correct for their age as for their goals.
    rows = batch_steps // cfg.horizon
    replay = ReplayBuffer(storage=LazyTensorStorage(cfg.replay_batches * rows, device=cfg.device), batch_size=rows)

    # 6. The record; go on from a checkpoint, or take the normaliser's first statistics from a few random steps.
    directory = Path(cfg.resume or HydraConfig.get().runtime.output_dir)
    components = {
        "actor": actor,
        "critic": critic,
        "critic_optimizer": critic_optimizer,
        "env": EnvRandomness(env),
        **({"replay": StoredItems(replay)} if cfg.replay_batches > 1 else {}),
        **({"optimizer": optimizer} if hasattr(optimizer, "state_dict") else {}),  # HPG's moments
    }
    watched, taught = PolicyMetrics(actor), HindsightMetrics(task)
    run = Run(directory, cfg.total_steps, name=cfg.name, components=components, backend=cfg.logger, config=lasting(cfg))
    steps = run.restore() if cfg.resume else run.begin()
    if normalizer is not None and not cfg.resume:
        warmup = finite(env.rollout(cfg.warmup_steps // cfg.num_envs, break_when_any_done=False)).to(cfg.device)
        normalizer.update(warmup["observation"], warmup["achieved_goal"], warmup["desired_goal"])
        steps = warmup.numel()

    # 7. Iterate: collect, relabel, step, fit the critic, move the statistics, examine.
    batches, enough = iter(collector), cfg.target_success or 2
    last = bool(cfg.resume) and (steps + batch_steps > cfg.total_steps or run.success >= enough)
    with closing(env), closing(exam), run:
        while not (last or run.stop):
            with timeit("collect"):
                batch = finite(next(batches))
                steps += batch.numel()
                batch = batch.reshape(-1, cfg.horizon)
                stored = remembered(replay, batch) if cfg.replay_batches > 1 else batch
                if cfg.early_ends:
                    batch, stored = split_trajectories(batch), split_trajectories(stored)
                real = batch.get(("collector", "mask"), default=torch.ones_like(batch["next", "done"].squeeze(-1)))
            with timeit("hindsight"):
                relabelled = hindsight(stored)
            with timeit("value"):
                relabelled = advantage(value(relabelled))
            with timeit("policy"):
                pruned = prune(relabelled)
                rows = curvature_rows(pruned)
                problem = objective.problem(gradient_rows(pruned), rows)
                before = {name: loss.prepare(rows) for name, loss in estimates.items()}
                result = optimizer.step(problem)
                apart = {name: loss(before[name])[loss.loss_name] for name, loss in estimates.items()}
            with timeit("critic"):
                targets = relabelled.select(*critic.in_keys, "value_target", "importance_weight", ("collector", "mask"))
                for minibatch in critic_rows.draws(targets, cfg.critic.updates):
                    loss = objective.loss_critic(minibatch)
                    critic_optimizer.zero_grad()
                    loss.backward()
                    clip_grad_norm_(critic.parameters(), inf, error_if_nonfinite=True)  # clips nothing: stops at NaN
                    critic_optimizer.step()
            if normalizer is not None:
                normalizer.update(
                    batch["observation"], batch["next", "achieved_goal"], batch["desired_goal"], mask=real
                )

            last = steps + batch_steps > cfg.total_steps
            metrics = {
                "train/entropy": -batch[actor.log_prob_keys[0]][real].mean().item(),
                "train/success": (task.success(batch) & real).any(-1).float().mean().item(),
                "hindsight/lost_share": pruned["hindsight", "lost_share"].flatten()[0].item(),
                **taught(relabelled, result.status),
                "critic/loss": loss.item(),
                **watched(batch),
                **{f"step/{name}": figure for name, figure in result.metrics().items()},
                **{f"estimate/{name}": loss.item() for name, loss in apart.items()},
            }
            examined = last or run.iterations % cfg.eval_every == 0
            if examined:
                with timeit("evaluate"):
                    episodes = cfg.final_episodes if last else cfg.eval_episodes
                    evaluation = evaluate(
                        exam,
                        actor,
                        task,
                        episodes=episodes,
                        horizon=cfg.horizon,
                        seed=cfg.seed + 10_000,
                        exploration=ExplorationType[cfg.eval_exploration],
                    )
                metrics |= {f"eval/{name}": figure for name, figure in evaluation.metrics().items()}
                last = last or getattr(evaluation, cfg.target_metric) >= enough
            metrics |= timeit.todict(prefix="time")
            timeit.erase()
            run.log(steps, metrics)
            run.show(success=run.success, kl=result.divergence, ess=metrics["hindsight/ess"])
            run.save()
            if examined:
                run.draw()
    print(f"checkpoints, metrics.csv and learning_curve.png are in {directory}")
    return run.result()


def remembered(replay: ReplayBuffer, batch: TensorDictBase) -> TensorDictBase:
    """Store a batch of trajectories ``[N, T]`` in place of the oldest; return all that are stored."""
    replay.extend(batch)
    return replay.storage[: len(replay)]


def make_networks(cfg: DictConfig, env: EnvBase) -> Networks:
    """The normaliser (if any), the policy and the critic of a configuration."""
    shape = env.observation_spec["observation"].shape[len(env.batch_size) :]
    goal_size = env.observation_spec["desired_goal"].shape[-1]
    encoders, size = make_encoders(cfg, shape, goal_size) if len(shape) > 1 else make_join(cfg, *shape, goal_size)
    head = instantiate(cfg.head, action_features(env.action_spec))
    actor = make_actor(head, size, cfg.hidden_sizes, normalizer=encoders[0])
    critic = make_critic(size, cfg.hidden_sizes, normalizer=encoders[1])
    return encoders[0] if cfg.normalize else None, actor.to(cfg.device), critic.to(cfg.device)


def make_join(cfg: DictConfig, observation_size: int, goal_size: int) -> tuple[Encoders, int]:
    """One normaliser (or none) for the policy and the critic, which joins observation and goal: how many features."""
    normalizer = GoalNormalizer(observation_size, goal_size, clip=cfg.input_clip) if cfg.normalize else None
    return (normalizer, normalizer), observation_size + goal_size


def make_encoders(cfg: DictConfig, shape: Sequence[int], goal_size: int) -> tuple[Encoders, int]:
    """A trunk for the policy's pictures and one for the critic's, after which the goal comes: how many features."""
    goal = RunningNormalizer(goal_size, cfg.input_clip) if cfg.normalize else None
    trunks = (orthogonal_(instantiate(cfg.trunk), last_gain=2**0.5) for _ in range(2))
    policy, critic = (PixelGoalEncoder(trunk, shape, goal_size, normalizer=goal) for trunk in trunks)
    return (policy, critic), policy.num_features
