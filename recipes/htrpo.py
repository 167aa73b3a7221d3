"""Hindsight Trust Region Policy Optimization, read from top to bottom; the recipes beside it are its configurations.

Source: https://arxiv.org/abs/1907.12439, Algorithm 3.
"""

from __future__ import annotations

import random
from math import inf
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from settings import check, lasting
from tensordict.nn import ProbabilisticTensorDictSequential
from torch.nn.utils import clip_grad_norm_
from torchrl import timeit
from torchrl.collectors import Collector
from torchrl.envs import Compose, EnvBase, ExplorationType
from torchrl.modules import ValueOperator

from torchrl_htrpo import (
    CumulativeGoalRatio,
    EnvRandomness,
    GoalNormalizer,
    HindsightRelabel,
    PolicyMetrics,
    RowPruner,
    RowSampler,
    Run,
    StateValue,
    TrustRegionObjective,
    action_features,
    evaluate,
    make_actor,
    make_critic,
    weight_share,
)

Networks = tuple[GoalNormalizer | None, ProbabilisticTensorDictSequential, ValueOperator]


def train(cfg: DictConfig) -> str:
    """Train as configured; return the run in one line."""
    check(cfg)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(cfg.seed)

    # 1. The task, once to learn in and once to be examined in.
    env, exam = (instantiate(cfg.env, seed=cfg.seed + offset) for offset in (0, 10_000))
    task = instantiate(cfg.goal_task)

    # 2. Policy and critic share one normaliser.
    normalizer, actor, critic = make_networks(cfg, env)

    # 3. The data flow: goals, relabelling, weights; values, advantages; rows.
    hindsight = Compose(
        instantiate(cfg.goals, _partial_=True)(skip_held=task.reached if cfg.skip_held_goals else None),
        HindsightRelabel(task),
        CumulativeGoalRatio(
            actor,
            discount=cfg.gamma,
            weighted=cfg.weighted,
            per_decision=cfg.per_decision,
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
        policy_device=cfg.device,
        storing_device=cfg.device,
        reset_at_each_iter=True,
        auto_register_policy_transforms=False,
    )

    # 6. The record; go on from a checkpoint, or take the normaliser's first statistics from a few random steps.
    directory = Path(cfg.resume or HydraConfig.get().runtime.output_dir)
    components = {
        "actor": actor,
        "critic": critic,
        "critic_optimizer": critic_optimizer,
        "env": EnvRandomness(env),
        **({"optimizer": optimizer} if hasattr(optimizer, "state_dict") else {}),  # HPG's moments
    }
    watched = PolicyMetrics(actor)
    run = Run(directory, cfg.total_steps, name=cfg.name, components=components, backend=cfg.logger, config=lasting(cfg))
    steps = run.restore() if cfg.resume else run.begin()
    if normalizer is not None and not cfg.resume:
        warmup = env.rollout(cfg.warmup_steps // cfg.num_envs).to(cfg.device)
        normalizer.update(warmup["observation"], warmup["achieved_goal"], warmup["desired_goal"])
        steps = warmup.numel()

    # 7. Iterate: collect, relabel, step, fit the critic, move the statistics, examine.
    batches, enough = iter(collector), cfg.target_success or 2
    last = bool(cfg.resume) and (steps + batch_steps > cfg.total_steps or run.success >= enough)
    with run:
        while not last:
            with timeit("collect"):
                batch = next(batches).reshape(-1, cfg.horizon)
            with timeit("hindsight"):
                relabelled = hindsight(batch)
            with timeit("value"):
                relabelled = advantage(value(relabelled))
            with timeit("policy"):
                pruned = prune(relabelled)
                rows = curvature_rows(pruned)
                problem = objective.problem(gradient_rows(pruned), rows)
                before = {name: divergence.prepare(rows) for name, divergence in estimates.items()}
                result = optimizer.step(problem)
            with timeit("critic"):
                targets = relabelled.select(*critic.in_keys, "value_target", "importance_weight", ("collector", "mask"))
                for _ in range(cfg.critic.updates):
                    loss = objective.loss_critic(critic_rows(targets))
                    critic_optimizer.zero_grad()
                    loss.backward()
                    clip_grad_norm_(critic.parameters(), inf, error_if_nonfinite=True)  # clips nothing: stops at NaN
                    critic_optimizer.step()
            if normalizer is not None:
                normalizer.update(batch["observation"], batch["next", "achieved_goal"], batch["desired_goal"])

            steps += batch.numel()
            last = steps + batch_steps > cfg.total_steps
            metrics = {
                "train/entropy": -batch[actor.log_prob_keys[0]].mean().item(),
                "train/success": task.success(batch).any(-1).float().mean().item(),
                "hindsight/ess": relabelled["hindsight", "ess"].flatten()[0].item(),
                "hindsight/live_share": relabelled["hindsight", "live_share"].flatten()[0].item(),
                "hindsight/lost_share": pruned["hindsight", "lost_share"].flatten()[0].item(),
                "hindsight/solved_share": relabelled["next", "terminated"].any(-2).float().mean().item(),
                "critic/loss": loss.item(),
                **watched(batch),
                **{f"step/{name}": figure for name, figure in result.metrics().items()},
                **{
                    f"estimate/{name}": divergence(before[name])[divergence.loss_name].item()
                    for name, divergence in estimates.items()
                },
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
                last = last or evaluation.success >= enough
            metrics |= timeit.todict(prefix="time")
            timeit.erase()
            run.log(steps, metrics)
            run.show(success=run.success, kl=result.divergence, ess=metrics["hindsight/ess"])
            run.save()
            if examined:
                run.draw()
    collector.shutdown()
    print(f"checkpoints, metrics.csv and learning_curve.png are in {directory}")
    return run.result()


def make_networks(cfg: DictConfig, env: EnvBase) -> Networks:
    """The normaliser (if any), the policy and the critic of a configuration."""
    sizes = [env.observation_spec[key].shape[-1] for key in ("observation", "desired_goal")]
    normalizer = GoalNormalizer(*sizes, clip=cfg.input_clip) if cfg.normalize else None
    head = instantiate(cfg.head, action_features(env.action_spec))
    actor = make_actor(head, sum(sizes), cfg.hidden_sizes, normalizer=normalizer)
    critic = make_critic(sum(sizes), cfg.hidden_sizes, normalizer=normalizer)
    return normalizer, actor.to(cfg.device), critic.to(cfg.device)
