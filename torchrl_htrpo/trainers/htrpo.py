"""Hindsight Trust Region Policy Optimization as a trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from tensordict import TensorDictBase, pad
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl import timeit
from torchrl.collectors.utils import split_trajectories
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import count, refusal
from torchrl_htrpo.batch import MASK_KEY, Draws, RowSampler, validity, weight_share
from torchrl_htrpo.distributed import Group, all_mean, all_sum, from_first, largest, size_of
from torchrl_htrpo.envs import GoalTask
from torchrl_htrpo.evaluation import HindsightMetrics, PolicyMetrics
from torchrl_htrpo.modules import GoalNormalizer, PixelGoalEncoder
from torchrl_htrpo.objectives import DivergenceLoss, TrustRegionObjective
from torchrl_htrpo.objectives.divergence import check_divergence
from torchrl_htrpo.optim import StepResult, TrustRegionOptimizer
from torchrl_htrpo.optim.problem import TrustRegionProblem
from torchrl_htrpo.records.checkpoints import StoredItems
from torchrl_htrpo.trainers.base import Metrics, Trainer
from torchrl_htrpo.trainers.descend import descend
from torchrl_htrpo.trainers.goal_blocks import draw_rows
from torchrl_htrpo.trainers.pipeline import HindsightPipeline, check_discount, check_group, hindsight_pipeline


class Steps(Protocol):
    """Protocol: an optimizer of a problem, such as :class:`TrustRegionOptimizer`."""

    def step(self, problem: TrustRegionProblem) -> StepResult:
        """Take a step."""


class HTRPOTrainer(Trainer):
    """Algorithm 3: collect, relabel, step within the trust region, fit the critic.

    Args:
        env: a batch of goal-conditioned environments.
        actor: the policy.
        critic: the value operator.
        task: goals and rewards.
        horizon: steps of an episode.
        batch_steps: environment steps of an iteration, whole episodes. Default: one episode of each environment. This,
            the rows below and ``warmup_steps`` are numbers of all processes together.
        pipeline: from trajectories to rows. Default: :func:`hindsight_pipeline`.
        objective: the objective of the policy. Default: the surrogate with QKL as its divergence.
        optimizer: makes the optimizer of the policy from its parameters. Default: :class:`TrustRegionOptimizer` with
            a radius of 0.005 nats per decision and a damping of 0.01.
        critic_optimizer: of the critic. Default: Adam with a learning rate of 5e-4.
        critic_updates: minibatches of the critic in an iteration.
        critic_batch_size: rows of such a minibatch.
        gradient_rows: rows for the gradient; None: all.
        curvature_rows: rows for the curvature; None: all.
        replay_batches: the last batches of trajectories that are weighted and trained on together.
        warmup_steps: random environment steps before the first iteration, for the statistics of the encoder.
        estimates: classes of divergences to report after each step, by name.
        process_group: processes that train together, each with its share of the environments. A ``pipeline`` needs it
            too.
        **loop: for :class:`Trainer` (``total_steps``, ``directory``, ``evaluator``, ...).

    Raises:
        ValueError: if ``batch_steps`` or ``warmup_steps`` are not whole episodes or steps of all environments, or parts
            of the pipeline have different discounts or another process group.

    Example:
        >>> import tempfile
        >>> from torchrl_htrpo import BitFlipEnv, make_actor, make_critic
        >>> from torchrl_htrpo.modules import CategoricalHead
        >>> env = BitFlipEnv(4, num_envs=8, seed=0)
        >>> actor, critic = make_actor(CategoricalHead(4), 8, (16,)), make_critic(8, (16,))
        >>> trainer = HTRPOTrainer(
        ...     env, actor, critic, env.task(), horizon=4, total_steps=64, directory=tempfile.mkdtemp()
        ... )
        >>> trainer.train()
        'RESULT ... env_steps=64 ...'

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, Algorithm 3.
    """

    shown: ClassVar[Mapping[str, str]] = {"KL": "step/divergence", "ESS": "hindsight/ess"}

    def __init__(
        self,
        env: EnvBase,
        actor: ProbabilisticTensorDictSequential,
        critic: TensorDictModule,
        task: GoalTask,
        *,
        horizon: int,
        batch_steps: int | None = None,
        pipeline: HindsightPipeline | None = None,
        objective: TrustRegionObjective | None = None,
        optimizer: Callable[[Any], Steps] | None = None,
        critic_optimizer: torch.optim.Optimizer | None = None,
        critic_updates: int = 40,
        critic_batch_size: int = 8192,
        gradient_rows: int | None = 65536,
        curvature_rows: int | None = 32768,
        replay_batches: int = 1,
        warmup_steps: int = 0,
        estimates: Mapping[str, Callable[..., DivergenceLoss]] | None = None,
        process_group: Group = None,
        **loop: Any,
    ) -> None:
        _check_counts(self, horizon=horizon, critic_updates=critic_updates, replay_batches=replay_batches)
        _check_counts(self, critic_batch_size=critic_batch_size)
        rows = {"gradient_rows": gradient_rows, "curvature_rows": curvature_rows, "batch_steps": batch_steps}
        _check_counts(self, **{name: value for name, value in rows.items() if value is not None})
        task.check(env)
        self.critic, self.task, self.horizon = critic, task, horizon
        processes = size_of(process_group)
        batch_steps = self._whole_episodes(env.batch_size.numel() * processes, batch_steps)
        self.pipeline = pipeline or hindsight_pipeline(actor, critic, task, process_group=process_group)
        check_discount(self, self.pipeline)
        check_group(self, self.pipeline, process_group)
        targets = (*critic.in_keys, "value_target")
        fewer, all_rows = share(curvature_rows, processes), share(gradient_rows, processes)
        minibatch = RowSampler(share(critic_batch_size, processes), uniform_share=1.0)
        self.draws = {
            "curvature": Draws(RowSampler(fewer, priority=weight_share)),
            "gradient": Draws(RowSampler(all_rows)),
            "critic": Draws(minibatch, critic_updates, targets),
        }
        count(self, "warmup_steps", warmup_steps, 0)
        self.warmup_steps = warmup_steps
        self.objective = objective or TrustRegionObjective(actor, critic)
        make_optimizer = optimizer or partial(TrustRegionOptimizer, max_divergence=0.005, damping=0.01)
        self.optimizer = make_optimizer(self.objective.trainable_params)
        self.critic_optimizer = critic_optimizer or torch.optim.Adam(critic.parameters(), lr=5e-4)
        self.estimates = {name: divergence(actor) for name, divergence in (estimates or {}).items()}
        self.encoder = encoder_of(actor)
        super().__init__(env, actor, batch_steps=batch_steps, process_group=process_group, **loop)
        for tensor in (*actor.parameters(), *actor.buffers(), *critic.parameters(), *critic.buffers()):
            tensor.data.copy_(from_first(tensor.data, process_group))
        for divergence in (self.objective.divergence, *self.estimates.values()):
            check_divergence(divergence, actor, env)
        trajectories = batch_steps // processes // horizon
        storage = LazyTensorStorage(replay_batches * trajectories, device=self.device)
        self.replay = ReplayBuffer(storage=storage, batch_size=trajectories) if replay_batches > 1 else None
        self._policy_metrics, self._hindsight_metrics = PolicyMetrics(actor), HindsightMetrics(task, process_group)

    def update(self, batch: TensorDictBase) -> Metrics:
        """One iteration of Algorithm 3 on collected steps ``[num_envs, T]``."""
        batch = batch.reshape(-1, self.horizon)
        trajectories = self.trajectories(batch)
        stored = trajectories if self.replay is None else self.trajectories(self.remember(batch))
        drawn, figures = draw_rows(self.pipeline(stored), self.draws, self._hindsight_metrics.sums)
        with timeit("policy"):
            rows = next(iter(drawn["curvature"]))
            problem = self.objective.problem(next(iter(drawn["gradient"])), rows, process_group=self.process_group)
            before = {name: loss.prepare(rows) for name, loss in self.estimates.items()}
            result = self.optimizer.step(problem)
            divergences = {name: loss(before[name])[loss.loss_name] for name, loss in self.estimates.items()}
        with timeit("critic"):
            critic_loss = self.fit_critic(drawn["critic"], figures["live"])
        self.update_encoder(trajectories)
        metrics = {
            **self.batch_metrics(trajectories),
            **self._hindsight_metrics.report(figures, result.status),
            "critic/loss": critic_loss,
            **{f"step/{name}": figure for name, figure in result.metrics().items()},
            **{f"estimate/{name}": loss.item() for name, loss in divergences.items()},
        }
        return all_mean(metrics, self.process_group)

    def trajectories(self, batch: TensorDictBase) -> TensorDictBase:
        """Split rows ``[N, horizon]`` into trajectories, with a mask if an episode ended early."""
        if not largest(bool(batch["next", "done"][:, :-1].any()), self.process_group):
            return batch
        split = split_trajectories(batch.exclude("collector"), prefix="collector")
        missing = largest(split.shape[-1], self.process_group) - split.shape[-1]
        return pad(split, [0, 0, 0, missing]) if missing else split

    def remember(self, batch: TensorDictBase) -> TensorDictBase:
        """Store a batch in place of the oldest; return all stored batches."""
        if self.replay is None:
            return batch
        # What the collector notes, such as its numbers of trajectories, begins anew in a resumed run.
        self.replay.extend(batch.exclude("collector"))
        return self.replay.storage[: len(self.replay)]

    def fit_critic(self, minibatches: Iterable[TensorDictBase], live: Tensor) -> float:
        """Fit the critic to the targets of minibatches; return the last loss.

        Args:
            minibatches: of the rows of this process.
            live: how many rows it has.
        """
        loss, live = torch.tensor(torch.nan), live.double()
        # A loss is the mean over the rows of this process: weight it by their share of the rows of all processes.
        weight = live / all_sum(live, self.process_group).clamp_min(1)
        for minibatch in minibatches:
            loss = self.objective.loss_critic(minibatch)
            loss = loss * weight.to(loss)
            descend(self.critic_optimizer, loss, self.process_group)
        known = loss.detach() if self.process_group is None else loss.detach().nan_to_num(0.0)  # NaN: no rows here
        return all_sum(known, self.process_group).item()

    def update_encoder(self, batch: TensorDictBase) -> None:
        """Update the statistics of the encoder with a batch."""
        if self.encoder is not None:
            achieved = batch[self.task.next_achieved_goal]
            mask = batch.get(MASK_KEY, default=None)
            inputs = batch["observation"], achieved, batch[self.task.desired_goal]
            self.encoder.update(*inputs, mask=mask, process_group=self.process_group)

    def batch_metrics(self, batch: TensorDictBase) -> Metrics:
        """Compute metrics of the collected steps."""
        real = validity(batch)
        return {
            "train/entropy": -batch[self.actor.log_prob_keys[0]][real].mean().item(),
            "train/success": (self.task.success(batch) & real).any(-1).float().mean().item(),
            **self._policy_metrics(batch),
        }

    def components(self) -> dict[str, object]:
        """Networks, optimizers, the environment's random state and the stored batches."""
        moments = {"optimizer": self.optimizer} if hasattr(self.optimizer, "state_dict") else {}
        replay = {} if self.replay is None else {"replay": StoredItems(self.replay)}
        networks = {"critic": self.critic, "critic_optimizer": self.critic_optimizer}
        return super().components() | networks | moments | replay

    def warm_up(self) -> int:
        """Compute the first statistics of the encoder from random steps."""
        if not self.warmup_steps or self.encoder is None:
            return 0
        processes = size_of(self.process_group)
        steps = self.warmup_steps // (self.env.batch_size.numel() * processes)
        batch = self.finite(self.env.rollout(steps, break_when_any_done=False)).to(self.device)
        inputs = (batch[key] for key in ("observation", self.task.achieved_goal, self.task.desired_goal))
        self.encoder.update(*inputs, process_group=self.process_group)
        return batch.numel() * processes

    def _whole_episodes(self, num_envs: int, batch_steps: int | None) -> int:
        episodes = num_envs * self.horizon
        if batch_steps is not None and batch_steps % episodes:
            expected = f"a multiple of num_envs * horizon = {episodes}"
            raise ValueError(refusal(self, "batch_steps", expected, batch_steps))
        return batch_steps or episodes


def _check_counts(owner: object, **values: int) -> None:
    for name, value in values.items():
        count(owner, name, value)


def encoder_of(actor: nn.Module) -> GoalNormalizer | PixelGoalEncoder | None:
    """Find the encoder of a policy that keeps statistics of its inputs, if there is one."""
    kinds = (GoalNormalizer, PixelGoalEncoder)
    return next((module for module in actor.modules() if isinstance(module, kinds)), None)


def share(rows: int | None, processes: int) -> int | None:
    """Rows for each process, so that all have at least ``rows`` together."""
    return rows if rows is None or processes == 1 else -(-rows // processes)
