"""Reject NaN, inf and absurdly large numbers in environment outputs."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from torch import Tensor
from torchrl.envs import Compose, EnvBase, Transform, TransformedEnv

from torchrl_htrpo._errors import number
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.envs.adapters.recorder import EnvFailure


class FiniteGuard(Transform):
    """Reject nan, inf and numbers beyond a limit in the observations, goals and rewards of an environment.

    One value of 1e19 would corrupt running statistics permanently, as NaN would. As a transform of an environment it
    checks every reset and step, before the policy sees them, if checks of values run
    (:func:`~torchrl_htrpo.checks.set_checks`). Called on a collected batch it checks all of it at once, always.

    Args:
        limit: largest absolute value that is accepted.

    Raises:
        ValueError: if ``limit`` is not positive.
        EnvFailure: naming the environment, the step of its episode, the key and the number.

    Example:
        >>> from torchrl.envs import TransformedEnv
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> env = TransformedEnv(BitFlipEnv(4, num_envs=2), FiniteGuard())
        >>> batch = env.rollout(4)
        >>> batch["next", "reward"][1, 2] = torch.nan
        >>> FiniteGuard()(batch)
        Traceback (most recent call last):
        torchrl_htrpo.envs.adapters.recorder.EnvFailure: FiniteGuard: environment 1 gave nan in ... in step 3
    """

    def __init__(self, limit: float = 1e9) -> None:
        number(self, "limit", limit, 0, above=True)
        super().__init__(in_keys=[], out_keys=[])
        self.limit = limit
        self.__dict__["_steps"] = None

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        if _checked(tensordict_reset):
            begun = tensordict.get("_reset", None)
            steps = self.__dict__["_steps"]
            if begun is None or steps is None:
                steps = torch.zeros(tensordict_reset.batch_size, dtype=torch.int64)
            else:
                steps = steps.masked_fill(begun.reshape(steps.shape), 0)
            self.__dict__["_steps"] = steps
            self._check(tensordict_reset, (), steps)
        return tensordict_reset

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        if _checked(next_tensordict) and self.__dict__["_steps"] is not None:
            self.__dict__["_steps"] += 1
            self._check(next_tensordict, ("next",), self.__dict__["_steps"])
        return next_tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Check a batch of trajectories ``[*B, T]``, and return it unchanged."""
        after = tensordict.get("next")
        keys = [key for key, _ in _numbers(after)]
        given = [((), tensordict.select(*keys, strict=False)), (("next",), after)]
        fine = [self._fine(value).all() for _, part in given for _, value in _numbers(part)]
        if fine and not torch.stack(fine).all():
            done = after.get("done").cpu().reshape(after.shape)
            for prefix, part in given:
                self._check(part.cpu(), prefix, _step_of_episode(done) - int(not prefix))
        return tensordict

    def _fine(self, value: Tensor) -> Tensor:
        return value.abs() <= self.limit  # False for NaN

    def _check(self, tensordict: TensorDictBase, prefix: tuple[str, ...], steps: Tensor) -> None:
        for key, value in _numbers(tensordict):
            if not (fine := self._fine(value)).all():
                raise EnvFailure(_where(value, ~fine, steps, unravel_key((*prefix, key))))


def guarded(env: EnvBase) -> TransformedEnv:
    """Append a :class:`FiniteGuard` to an environment that has none."""
    transform = env.transform if isinstance(env, TransformedEnv) else None
    present = [*transform] if isinstance(transform, Compose) else [transform]
    if any(isinstance(one, FiniteGuard) for one in present):
        return env
    return TransformedEnv(env, FiniteGuard(), auto_unwrap=True)


def _where(value: Tensor, bad: Tensor, steps: Tensor, key: NestedKey) -> str:
    index = tuple(bad.nonzero()[0].tolist())
    place = index[: steps.dim()]
    step = int(steps[place])
    when = f"step {step}" if step else "the reset"
    return f"FiniteGuard: environment {index[0] if index else 0} gave {value[index].item()} in {key!r} in {when}"


def _step_of_episode(done: Tensor) -> Tensor:
    """Number of each step in its episode, from 1, ``[*B, T]``."""
    count = torch.arange(1, done.shape[-1] + 1).expand(done.shape)
    ends = torch.where(done, count, 0).cummax(-1).values
    return count - torch.cat((torch.zeros_like(ends[..., :1]), ends[..., :-1]), -1)


def _numbers(tensordict: TensorDictBase) -> list[tuple[Any, Tensor]]:
    return [(key, value) for key, value in tensordict.items(True, True) if value.is_floating_point()]


def _checked(tensordict: TensorDictBase) -> bool:
    return all(may_wait(value.device) for _, value in _numbers(tensordict)[:1])
