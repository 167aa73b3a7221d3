"""HTRPO on a goal task.

    python recipes/htrpo.py task=reach
    python recipes/htrpo.py task=bitflip env.num_bits=16 seed=3
    python recipes/htrpo.py task=push system=trpo
    torchrun --nproc-per-node 2 recipes/htrpo.py task=push

What a configuration builds is here, how it trains in :class:`~torchrl_htrpo.trainers.HTRPOTrainer`. The run's folder
gets checkpoints, ``metrics.csv`` and a learning curve; the last line printed is machine-readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import nn
from torchrl.envs import EnvBase, ExplorationType
from torchrl.modules import ValueOperator

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.distributed import Group, rank_of, seed_of, size_of
from torchrl_htrpo.envs import GoalTask
from torchrl_htrpo.modules import (
    PixelGoalEncoder,
    RunningNormalizer,
    make_actor,
    make_critic,
    make_normalizer,
    orthogonal_,
)
from torchrl_htrpo.objectives import TrustRegionObjective
from torchrl_htrpo.recipes.command import loop_settings, run_recipe
from torchrl_htrpo.recipes.matmul import use_onednn
from torchrl_htrpo.recipes.settings import HTRPOConfig, validate
from torchrl_htrpo.recipes.single_env import make_env
from torchrl_htrpo.recipes.torchrun import process_group
from torchrl_htrpo.records.checkpoints import load_intact
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.trainers import Evaluator, HTRPOTrainer, RayWorkers, hindsight_pipeline, seed_everything


def main() -> None:
    """Train, configured by the command line."""
    run_recipe("htrpo", train, together=True)


def train(cfg: DictConfig) -> str:
    """Train with a configuration; return the result as one line."""
    with process_group(cfg.device, cfg.process_timeout) as group:
        return build(cfg, group).train()


def build(cfg: DictConfig, group: Group = None) -> HTRPOTrainer:
    """Create the trainer of a configuration, on this process of a group."""
    validate(cfg, HTRPOConfig)
    loop = loop_settings(cfg)
    cfg = share_environments(cfg, group)
    seed_everything(cfg.seed)
    if cfg.onednn and torch.device(cfg.device).type == "cpu":
        use_onednn()
    env, exam = (instantiate(cfg.env, seed=seed_of(cfg.seed + offset, group)) for offset in (0, 10_000))
    task = instantiate(cfg.goal_task)
    actor, critic = make_networks(cfg, env)
    if cfg.start_from:
        load_intact(SealedCheckpoint(actor=actor), Path(cfg.start_from), best=True)
    if rank_of(group):
        seed_everything(seed_of(cfg.seed, group))  # the same networks, but other actions
    pipeline = hindsight_pipeline(
        actor,
        critic,
        task,
        gamma=cfg.gamma,
        goals=instantiate(cfg.goals)(skip_held=task.reached if cfg.skip_held_goals else None, process_group=group),
        advantage=instantiate(cfg.advantage),
        center_advantage=cfg.center_advantage,
        chunk_size=cfg.chunk_rows,
        goal_block=cfg.goal_block,
        process_group=group,
        weighted=cfg.weighted,
        per_decision=cfg.per_decision,
        window=cfg.ratio_window,
        finished=cfg.finished,
        normalization=cfg.normalization,
    )
    objective = TrustRegionObjective(actor, critic, divergence=instantiate(cfg.divergence), chunk_size=cfg.chunk_rows)
    return HTRPOTrainer(
        env,
        actor,
        critic,
        task,
        horizon=cfg.horizon,
        batch_steps=cfg.batch_steps,
        pipeline=pipeline,
        objective=objective,
        optimizer=instantiate(cfg.trust_region),
        critic_optimizer=torch.optim.Adam(critic.parameters(), lr=cfg.critic.lr),
        critic_updates=cfg.critic.updates,
        critic_batch_size=cfg.critic.batch_size,
        gradient_rows=cfg.gradient_rows,
        curvature_rows=cfg.curvature_rows,
        replay_batches=cfg.replay_batches,
        warmup_steps=cfg.warmup_steps,
        estimates=instantiate(cfg.estimates),
        evaluator=make_evaluator(cfg, exam, task, group),
        collector=make_collector(cfg, actor, group),
        process_group=group,
        **loop,
    )


def share_environments(cfg: DictConfig, group: Group) -> DictConfig:
    """The configuration of a process, with its share of the environments."""
    if cfg.num_envs % size_of(group):
        raise ValueError(refusal(cfg.name, "num_envs", f"a multiple of the {size_of(group)} processes", cfg.num_envs))
    shared = cfg.copy()
    shared.num_envs = cfg.num_envs // size_of(group)
    return shared


def make_collector(cfg: DictConfig, actor: nn.Module, group: Group) -> RayWorkers | None:
    """Create the collector of a configuration; None for the trainer's own."""
    if cfg.collector is None:
        return None
    if size_of(group) > 1:
        raise ValueError(refusal(cfg.name, "collector", "local with several processes", "ray"))
    settings: Any = OmegaConf.to_container(cfg.env, resolve=True)
    settings |= {"num_envs": cfg.num_envs // cfg.num_collectors}
    settings |= {"device": "cpu"} if "device" in settings else {}
    create_env = partial(instantiate, settings)
    batch_steps = cfg.batch_steps or cfg.num_envs * cfg.horizon
    return instantiate(cfg.collector)(create_env, actor, batch_steps=batch_steps)


def make_evaluator(cfg: DictConfig, env: EnvBase, task: GoalTask, group: Group = None) -> Evaluator:
    """Create the evaluator of a configuration."""
    return Evaluator(
        env,
        task,
        cfg.horizon,
        every=cfg.eval_every,
        episodes=cfg.eval_episodes,
        final_episodes=cfg.final_episodes,
        exploration=ExplorationType[cfg.get("eval_exploration", "DETERMINISTIC")],
        seed=cfg.seed + 10_000,
        target=cfg.target_success,
        metric=cfg.target_metric,
        film=make_env(cfg, cfg.seed + 20_000, draw=True) if cfg.gif and rank_of(group) == 0 else None,
        process_group=group,
        target_evaluations=cfg.target_evaluations,
    )


def make_networks(cfg: DictConfig, env: EnvBase) -> tuple[ProbabilisticTensorDictSequential, ValueOperator]:
    """Create policy and critic, with a shared normaliser if observations are vectors."""
    shape = env.observation_spec["observation"].shape[len(env.batch_size) :]
    goal_size = env.observation_spec["desired_goal"].shape[-1]
    if len(shape) > 1:
        encoders: Sequence[nn.Module | None] = make_pixel_encoders(cfg, shape, goal_size)
    else:
        encoders = [make_normalizer(env, cfg.input_clip) if cfg.normalize else None] * 2
    actor = make_actor(instantiate(cfg.head), env, cfg.hidden_sizes, encoder=encoders[0])
    critic = make_critic(env, cfg.hidden_sizes, encoder=encoders[1])
    return actor.to(cfg.device), critic.to(cfg.device)


def make_pixel_encoders(
    cfg: DictConfig, shape: torch.Size, goal_size: int
) -> tuple[PixelGoalEncoder, PixelGoalEncoder]:
    """Create the pixel encoders of policy and critic."""
    goal = RunningNormalizer(goal_size, cfg.input_clip) if cfg.normalize else None
    trunks: list[nn.Module] = [orthogonal_(instantiate(cfg.trunk), last_gain=2**0.5) for _ in range(2)]
    make = partial(PixelGoalEncoder, shape=shape, goal_size=goal_size, goal_normalizer=goal)
    return make(trunks[0]), make(trunks[1])
