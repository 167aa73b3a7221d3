"""Base class of trainers: collect, update, log, evaluate, save."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl import timeit
from torchrl.collectors import Collector
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import choice, count, flag, refusal
from torchrl_htrpo.distributed import (
    Group,
    largest,
    rank_of,
    refuse_different,
    roll_call,
    seed_of,
    size_of,
    watch_of,
)
from torchrl_htrpo.envs.adapters.finite_guard import FiniteGuard, guarded
from torchrl_htrpo.evaluation.video import write_gif
from torchrl_htrpo.modules import check_actor
from torchrl_htrpo.records.checkpoints import EnvRandomness
from torchrl_htrpo.records.loggers import check_backend
from torchrl_htrpo.records.process_states import ProcessStates, with_states_of_all
from torchrl_htrpo.records.quiet_run import QuietRun
from torchrl_htrpo.records.run import Run
from torchrl_htrpo.trainers.evaluator import Evaluator
from torchrl_htrpo.trainers.ray_workers import RayWorkers

Hook = Literal["batch_process", "post_steps", "post_steps_log"]
Metrics = dict[str, float]


class Trainer:
    """Base class: collect, update, log, evaluate and save, until the budget of environment steps is used.

    Subclasses implement :meth:`update`, and :meth:`components` for checkpoints. The interface is that of
    ``torchrl.trainers.Trainer`` (``train``, ``register_op``). A :class:`~torchrl_htrpo.records.Run` records the
    training, so runs resume bitwise.

    Args:
        env: the training environment; closed at the end.
        actor: the policy.
        total_steps: environment steps in all, of all processes. No batch goes beyond them.
        batch_steps: environment steps of an iteration, of all processes.
        directory: the run's folder.
        collecting_actor: the policy that collects, with exploration. Default: ``actor``.
        collector: yields batches of ``batch_steps``. Default: TorchRL's ``Collector``, in this process.
        evaluator: evaluates the policy. Default: no evaluation.
        reset_each_batch: begin new episodes with every batch. Needed to resume bit for bit.
        save_every: iterations between checkpoints.
        name: of the run.
        logger: beside the CSV files: ``"tensorboard"`` or ``"wandb"``.
        config: the configuration that must not change when the run resumes, as JSON values.
        settings: the whole configuration, for ``run.json``. Default: ``config``.
        resume: resume the run in ``directory``.
        process_group: processes that train together, each with its share of the environments. The first one writes the
            records; all begin with its networks.

    Raises:
        ValueError: if ``total_steps`` is less than one batch, the logger is unknown, the policy's actions do not fit
            the environment, or processes have different numbers of environments.
        ModuleNotFoundError: naming the extra that the logger needs.
    """

    headline = "eval/success"
    shown: ClassVar[Mapping[str, str]] = {}  # metrics beside the progress bar, by their name there

    def __init__(
        self,
        env: EnvBase,
        actor: TensorDictModuleBase,
        *,
        total_steps: int,
        batch_steps: int,
        directory: Path | str,
        collecting_actor: TensorDictModuleBase | None = None,
        collector: RayWorkers | None = None,
        evaluator: Evaluator | None = None,
        reset_each_batch: bool = True,
        save_every: int = 1,
        name: str = "run",
        logger: str = "csv",
        config: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
        resume: bool = False,
        process_group: Group = None,
    ) -> None:
        for argument, value in (("total_steps", total_steps), ("save_every", save_every), ("batch_steps", batch_steps)):
            count(self, argument, value)
        if batch_steps > total_steps:
            raise ValueError(refusal(self, "batch_steps", f"from 1 to total_steps = {total_steps}", batch_steps))
        check_backend(self, logger, video=evaluator is not None and evaluator.film is not None)
        check_actor(actor, env)
        sizes = env.batch_size.numel(), total_steps, batch_steps
        refuse_different(self, "environments, total_steps and batch_steps", sizes, process_group)
        self.process_group, self._watch = process_group, watch_of(process_group)
        self.env, self.actor, self.resume = guarded(env), actor, flag(self, "resume", resume)
        self.total_steps, self.batch_steps = total_steps, batch_steps
        self.directory, self.evaluator, self.save_every = Path(directory), evaluator, save_every
        self._record: dict[str, Any] = {"name": name, "backend": logger, "config": config, "settings": settings}
        self._hooks: dict[str, list[Callable[..., Any]]] = defaultdict(list)
        self.finite = FiniteGuard()
        self.device = next(actor.parameters()).device
        self._resources = [one for one in (self.env, evaluator, collector) if one is not None]
        self.collector = collector or Collector(
            self.env,
            collecting_actor or actor,
            frames_per_batch=batch_steps // size_of(process_group),
            total_frames=-1,
            env_device=env.device,
            policy_device=self.device,
            storing_device=self.device,
            reset_at_each_iter=flag(self, "reset_each_batch", reset_each_batch),
            auto_register_policy_transforms=False,
        )

    def update(self, batch: TensorDictBase) -> Metrics:
        """Update on a collected batch; return metrics."""
        raise NotImplementedError

    def components(self) -> dict[str, object]:
        """Components of a checkpoint, by name."""
        return {"actor": self.actor, "env": EnvRandomness(self.env)}

    def warm_up(self) -> int:
        """Prepare a new run; return the number of environment steps used."""
        return 0

    def is_over(self, steps: int) -> bool:
        """Whether the budget is used after a number of steps."""
        return steps + self.batch_steps > self.total_steps

    def make_run(self) -> QuietRun:
        """Create the record of this run, which only the first process writes."""
        components = with_states_of_all(self.components(), self.process_group)
        self._states = [item for item in components.values() if isinstance(item, ProcessStates)]
        kind = Run if rank_of(self.process_group) == 0 else QuietRun
        settings = {"headline": self.headline, "processes": size_of(self.process_group), **self._record}
        settings["best_by"] = self.evaluator.metric if self.evaluator else "success"
        return kind(self.directory, self.total_steps, components=components, **settings)

    def result(self) -> str:
        """The result of the run as one machine-readable line."""
        return self.run.result()

    def register_op(self, dest: Hook, op: Callable[..., Any]) -> None:
        """Call ``op`` in every iteration.

        Args:
            dest: ``"batch_process"``: ``op(batch) -> batch`` before the update; ``"post_steps"``: ``op()`` after it;
                ``"post_steps_log"``: ``op(batch) -> dict`` of metrics to log.
            op: the function.

        Raises:
            ValueError: if ``dest`` is unknown.
        """
        choice(self, "dest", dest, get_args(Hook))
        self._hooks[dest].append(op)

    def train(self) -> str:
        """Train until the budget is used or the evaluator's target is reached; return :meth:`result`."""
        self.run = self.make_run()
        steps = self._resume() if self.resume else self.run.begin()
        if not self.resume:
            steps = self.warm_up()
        batches = iter(self.collector)
        last = self.resume and (self.is_over(steps) or self._was_at_target())
        with ExitStack() as stack:
            for resource in self._resources:
                stack.enter_context(closing(resource))
            stack.enter_context(self.run)
            while not (last or largest(bool(self.run.stop), self.process_group)):
                with timeit("collect"):
                    batch = self.finite(next(batches))
                roll_call(self._watch, "collect")
                steps += batch.numel() * size_of(self.process_group)
                last = self._iterate(batch, steps)
            if self.run.unsaved:  # a signal came
                self._save()
            if last and self.evaluator is not None:
                self._film(self.evaluator)
        return self.result()

    def _resume(self) -> int:
        steps = self.run.restore()
        refuse_different(self, "directory", (steps,), self.process_group)  # each must see the same checkpoint
        if not self.run.same_processes:
            seed = seed_of(torch.initial_seed() + steps, self.process_group)
            seed_everything(seed % 2**32)
            self.env.set_seed(seed % 2**32)
        return steps

    def _was_at_target(self) -> bool:
        return self.evaluator is not None and self.evaluator.was_at_target(self.run.progress)

    def _save(self) -> None:
        for states in self._states:
            states.gather()
        self.run.save()

    def _iterate(self, batch: TensorDictBase, steps: int) -> bool:
        """Update, log, evaluate and save; return whether this was the last iteration."""
        for op in self._hooks["batch_process"]:
            batch = op(batch)
        metrics = self.update(batch)
        for op in self._hooks["post_steps"]:
            op()
        for op in self._hooks["post_steps_log"]:
            metrics |= op(batch)
        last = self.is_over(steps)
        evaluated = self.evaluator is not None and self.evaluator.is_due(self.run.iterations, last)
        if self.evaluator is not None and evaluated:
            with timeit("evaluate"):
                metrics |= self.evaluator(self.actor, last)
                if self.evaluator.count_target(self.run.progress, metrics) and not last:
                    last = True
                    metrics |= self.evaluator(self.actor, last)
        metrics |= timeit.todict(percall=False, prefix="time")
        timeit.erase()
        self.run.log(steps, metrics)
        self.run.show(**{name: metrics[key] for name, key in self.shown.items() if key in metrics})
        if last or self.run.iterations % self.save_every == 0:
            self._save()
        if evaluated or last:
            self.run.draw(final=last)
        return last

    def _film(self, evaluator: Evaluator) -> None:
        """Write a GIF of the policy, and send it to the logger."""
        if (frames := evaluator.frames(self.actor)) is not None:
            write_gif(frames, self.directory / "policy.gif")
            self.run.log_video("eval/policy", frames)


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and PyTorch."""
    for function in (random.seed, np.random.seed, torch.manual_seed):
        function(count("seed_everything", "seed", seed, 0))
