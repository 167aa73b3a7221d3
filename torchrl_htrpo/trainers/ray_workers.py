"""Collection by the workers of a Ray cluster."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn
from torchrl import torchrl_logger
from torchrl.collectors import Collector
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import count, number, refusal
from torchrl_htrpo._extras import named_extra


class LostWorkersError(RuntimeError):
    """Workers died again and again while they collected one batch."""


class SeededCollector(Collector):
    """A collector whose seed also decides the actions."""

    def __bool__(self) -> bool:
        # When a task fails, Ray evaluates bool(actor); by default that is its length, and this collector has none.
        return True

    def set_seed(self, seed: int, static_seed: bool = False) -> int:
        """Seed torch and the environments; return the seed of the next collector."""
        torch.manual_seed(seed)
        return super().set_seed(seed, static_seed)


class RayWorkers:
    """Collect whole episodes with TorchRL's ``RayCollector``, and survive lost workers.

    Before each batch, the workers get the weights of the policy and a seed from torch's generator; nothing else decides
    what they collect. So a resumed run continues bit for bit. If a worker dies, all are replaced, and collect the batch
    again: the run is the same as without the loss.

    Connects to the cluster of ``RAY_ADDRESS`` or of this machine, or starts one here.

    Args:
        create_env: makes the environments of a worker.
        policy: collects; the workers have copies on the CPU.
        num_workers: how many (``K``).
        batch_steps: environment steps of a batch, all workers together.
        num_cpus: of the cluster, for each worker.
        restarts: replacements of the workers within one batch.
        timeout: after an error, a worker that does not answer for this long is lost [s].

    Raises:
        LostWorkersError: while collecting, if workers die more often than ``restarts`` times in a row.
        ModuleNotFoundError: naming the extra, if Ray is not installed.
        ValueError: if the workers do not share ``batch_steps`` evenly or the cluster has not enough CPUs.

    Example:
        >>> from functools import partial
        >>> from torchrl_htrpo import BitFlipEnv, make_actor
        >>> from torchrl_htrpo.modules import CategoricalHead
        >>> actor = make_actor(CategoricalHead(4), 8)
        >>> make_env = partial(BitFlipEnv, 4, num_envs=8)
        >>> with closing(RayWorkers(make_env, actor, num_workers=2, batch_steps=64)) as workers:  # doctest: +SKIP
        ...     batch = next(iter(workers))  # [2, 8, 4]
    """

    def __init__(
        self,
        create_env: Callable[[], EnvBase],
        policy: nn.Module,
        *,
        num_workers: int,
        batch_steps: int,
        num_cpus: float = 1.0,
        restarts: int = 3,
        timeout: float = 30.0,
    ) -> None:
        for argument, value, least in (
            ("num_workers", num_workers, 1),
            ("batch_steps", batch_steps, 1),
            ("restarts", restarts, 0),
        ):
            count(self, argument, value, least)
        for argument, amount in (("num_cpus", num_cpus), ("timeout", timeout)):
            number(self, argument, amount, 0)
        if batch_steps % num_workers:
            raise ValueError(refusal(self, "batch_steps", f"a multiple of num_workers = {num_workers}", batch_steps))
        with named_extra("RayWorkers"):
            import ray  # noqa: PLC0415  (an extra)
        self.create_env, self.policy = create_env, policy
        self.num_workers, self.batch_steps = num_workers, batch_steps
        self.num_cpus, self.restarts, self.timeout = num_cpus, restarts, timeout
        self.workers: Any = None
        self.started = not ray.is_initialized()
        if self.started:
            ray.init(include_dashboard=False, log_to_driver=False)
        available = ray.cluster_resources().get("CPU", 0.0)
        if num_workers * num_cpus > available:
            expected = f"at most the {available:g} CPUs of the cluster for {num_workers} workers"
            self.close()
            raise ValueError(refusal(self, "num_cpus", expected, num_cpus))

    def __iter__(self) -> Iterator[TensorDictBase]:
        """Batches ``[K, E, T]``, without end."""
        while True:
            yield self._collect(int(torch.randint(2**31, ())))

    def close(self) -> None:
        """Stop the workers, and Ray if it was started here."""
        import ray  # noqa: PLC0415

        self._stop()
        if self.started:
            ray.shutdown()

    def _collect(self, seed: int) -> TensorDictBase:
        for attempt in range(self.restarts + 1):
            try:
                return self._batch(seed)
            except Exception as error:
                lost = self._lost()
                if not lost:
                    raise
                self._stop()
                reason = " ".join(str(error).split())
                cause = f"workers {lost} of {self.num_workers} died"
                if attempt == self.restarts:
                    times = f"{attempt + 1} times in a row" if attempt else "and may not be replaced (restarts=0)"
                    advice = "The run is saved up to the iteration before: continue with resume=<its folder>"
                    raise LostWorkersError(f"RayWorkers: {cause} {times}: {reason} {advice}") from error
                torchrl_logger.warning(f"RayWorkers: {cause}: {reason} All are replaced, and collect the batch again")
        raise AssertionError

    def _batch(self, seed: int) -> TensorDictBase:
        if self.workers is None:
            self.workers = self._start()
            self._batches = iter(self.workers)
        self.workers.update_policy_weights_(TensorDict.from_module(self.policy).data)
        self.workers.set_seed(seed)
        device = next(self.policy.parameters()).device
        return next(self._batches).to(device)

    def _start(self) -> Any:
        from torchrl.collectors.distributed import RayCollector  # noqa: PLC0415

        return RayCollector(
            [self.create_env] * self.num_workers,
            copy.deepcopy(self.policy).to("cpu"),
            collector_class=SeededCollector,
            collector_kwargs={"auto_register_policy_transforms": False},
            remote_configs={"num_cpus": self.num_cpus, "num_gpus": 0},
            num_collectors=self.num_workers,
            frames_per_batch=self.batch_steps,
            total_frames=sys.maxsize,
            reset_at_each_iter=True,
            sync=True,
        )

    def _stop(self) -> None:
        workers, self.workers = self.workers, None
        if workers is not None:
            workers.shutdown()

    def _lost(self) -> list[int]:
        """Numbers of the workers that do not answer."""
        import ray  # noqa: PLC0415

        def answers(worker: Any) -> bool:
            try:
                ray.get(worker.__ray_ready__.remote(), timeout=self.timeout)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                return False
            return True

        found = self.workers.remote_collectors if self.workers is not None else []
        return [number for number, worker in enumerate(found, 1) if not answers(worker)]
