"""Batch TorchRL and gymnasium environments, in this process or in worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDictBase
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import choice, count, number, refusal
from torchrl_htrpo.envs.adapters.picture import picture
from torchrl_htrpo.envs.adapters.worker_pool import Maker, StartMethod, WorkerPool, group
from torchrl_htrpo.envs.randomness import EpisodeSeeds, first_seed

_LONGEST = 1e6  # seconds; the longest wait that operating systems accept
_SPECS = ("observation_spec", "full_action_spec", "full_reward_spec", "full_done_spec")


class EnvBatch(EpisodeSeeds, EnvBase):
    """A batch of TorchRL or gymnasium environments, in this process or in worker processes.

    Each episode has its own seed, from the seed, the index of the environment and the number of the episode: results do
    not depend on the number of workers, and :meth:`rng_state` determines all later episodes.

    If a worker crashes, raises, or exceeds ``timeout`` in a step or a reset, all workers are ended, and the error names
    the environment and the step. Workers also end when this process ends for any reason.

    Args:
        makers: functions that make one environment each, of TorchRL or of gymnasium, all of the same specs. Under
            ``"spawn"`` and ``"forkserver"`` they run in a new process and must import and register what they need.
        num_workers: processes, each with its share of the environments; 0: none, all run in this process.
        timeout: seconds for a step, a reset or the construction of one environment (in workers).
        start_method: how processes start. ``"spawn"`` is the safest; ``"fork"`` is quick, and unsafe beside threads.
        seed: of the episodes. Default: sampled with torch's global generator.
        device: where the tensors live; the environments themselves are on the CPU.

    Raises:
        ValueError: if there are no makers or their environments differ in shape, the workers do not divide them, or an
            argument is not one of its choices.
        EnvFailure: if an environment cannot be made.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> env = EnvBatch([lambda: BitFlipEnv(4)] * 3, seed=0)
        >>> env.rollout(4).shape
        torch.Size([3, 1, 4])
        >>> env.close()
    """

    batch_locked = True

    def __init__(
        self,
        makers: Sequence[Maker],
        *,
        num_workers: int = 0,
        timeout: float = 60.0,
        start_method: StartMethod = "spawn",
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if not makers:
            raise ValueError(refusal(self, "makers", "at least one function", 0))
        check_workers("EnvBatch", len(makers), num_workers, timeout, start_method)
        pool = WorkerPool(list(makers), num_workers, timeout, start_method) if num_workers else None
        inner = group(list(makers)) if pool is None else pool.env
        lead = (num_workers, len(makers) // num_workers) if num_workers else (len(makers),)
        rest = inner.batch_size[len(lead) :]
        super().__init__(device=device, batch_size=torch.Size([len(makers), *rest]))
        self.__dict__.update(pool=pool, inner=inner)  # not submodules
        self._lead = lead
        self._set_specs()
        self._episode = torch.zeros(len(makers), dtype=torch.int64)
        self.is_closed = False
        self.set_seed(first_seed(self, seed))

    def _set_specs(self) -> None:
        for name in _SPECS:
            spec = getattr(self.inner, name).clone().reshape(self.batch_size)
            setattr(self, name, spec if self.device is None else spec.to(self.device))
        self._inputs = [*self.full_action_spec.keys(True, True), *self.observation_spec.keys(True, True)]

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        if mask is None:
            mask = torch.ones(*self.batch_size, 1, dtype=torch.bool)
        begin = mask.cpu().reshape(len(self._episode), -1).any(-1)
        seeds = [{"seed": self._draw(index)} for index in range(len(begin))]
        self._episode += begin
        size = self._lead[-1]
        each = (
            seeds
            if len(self._lead) == 1
            else [{"list_of_kwargs": seeds[first : first + size]} for first in range(0, len(seeds), size)]
        )
        given = None if tensordict is None else self._inward(tensordict)
        return self._outward(self._call("reset", given, list_of_kwargs=each))

    def _draw(self, index: int) -> int:
        episode = int(self._episode[index])
        # Some simulators accept seeds below 2**31 only.
        return int(np.random.SeedSequence([self._seed % 2**64, index, episode]).generate_state(1)[0] >> 1)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        inputs = self._inward(tensordict.select(*self._inputs, strict=False))
        return self._outward(self._call("step", inputs).get("next"))

    def _call(self, method: str, *args: Any, **kwargs: Any) -> TensorDictBase:
        self._require_open(method)
        if self.pool is None:
            return getattr(self.inner, method)(*args, **kwargs)
        return self.pool.call(method, *args, **kwargs)

    def _inward(self, tensordict: TensorDictBase) -> TensorDictBase:
        # Copy: the inner environments remove the reset mask from their input.
        flat = tensordict.copy() if self.device is None else tensordict.to("cpu").copy()
        return flat.reshape(*self._lead, *self.batch_size[1:]).clear_device_()

    def _outward(self, tensordict: TensorDictBase) -> TensorDictBase:
        flat = tensordict.reshape(self.batch_size)
        return flat.clone(False) if self.device is None else flat.to(self.device)

    def render(self, *, width: int, height: int) -> NDArray[np.uint8]:
        """Render the first environment ``[H, W, 3]``.

        Args:
            width: in pixels.
            height: in pixels; a picture of another size is scaled to fit.

        Raises:
            TypeError: if it cannot be rendered, or runs in a worker.
            RuntimeError: if the environments are closed.
        """
        if self.pool is not None:
            raise TypeError(refusal(self, "num_workers", "0 to render an environment", len(self.pool.processes)))
        self._require_open("render")
        return picture(self, self.inner._envs[0], width, height)

    def _require_open(self, method: str) -> None:
        if self.is_closed:
            raise RuntimeError(f"EnvBatch: {method} was called on a closed environment; make a new one")

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the environments and end the workers.

        Args:
            raise_if_closed: whether closing twice is an error.
        """
        super().close(raise_if_closed=raise_if_closed)
        if self.pool is not None:
            self.pool.close()
        else:
            self.inner.close(raise_if_closed=False)


def check_workers(owner: str, num_envs: int, num_workers: int, timeout: float, start_method: str) -> None:
    """Raise if the arguments of workers make no sense."""
    if count(owner, "num_workers", num_workers, 0) and num_envs % num_workers:
        raise ValueError(refusal(owner, "num_workers", f"0, or a divisor of the {num_envs} environments", num_workers))
    number(owner, "timeout", timeout, 0, _LONGEST, above=True)
    choice(owner, "start_method", start_method, get_args(StartMethod))
