"""Numbers that are none, stopped where they come from."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from torch import Tensor
from torchrl.envs import Transform

from torchrl_htrpo.envs.adapters.recorder import EnvFailure


class FiniteGuard(Transform):
    """Refuse nan and inf in what an environment gives: observations, goals, rewards.

    As a transform of an environment it looks at every reset and step, before the policy sees them. There, on an
    accelerator, it would make the host wait, and does nothing; called on a collected batch it looks once at all of it.

    Raises:
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

    def __init__(self) -> None:
        super().__init__(in_keys=[], out_keys=[])
        self.__dict__["_steps"] = None

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        if _on_cpu(tensordict_reset):
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
        if _on_cpu(next_tensordict) and self.__dict__["_steps"] is not None:
            self.__dict__["_steps"] += 1
            self._check(next_tensordict, ("next",), self.__dict__["_steps"])
        return next_tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Look at a batch ``[*B, T]``, once.

        Args:
            tensordict: trajectories.

        Returns:
            The same.
        """
        after = tensordict.get("next")
        keys = [key for key, _ in _numbers(after)]
        given = [((), tensordict.select(*keys, strict=False)), (("next",), after)]
        fine = [value.isfinite().all() for _, part in given for _, value in _numbers(part)]
        if fine and not torch.stack(fine).all():
            done = after.get("done").cpu().reshape(after.shape)
            for prefix, part in given:
                self._check(part.cpu(), prefix, _step_of_episode(done) - int(not prefix))
        return tensordict

    @staticmethod
    def _check(tensordict: TensorDictBase, prefix: tuple[str, ...], steps: Tensor) -> None:
        for key, value in _numbers(tensordict):
            if not value.isfinite().all():
                raise EnvFailure(_where(value, steps, unravel_key((*prefix, key))))


def _where(value: Tensor, steps: Tensor, key: NestedKey) -> str:
    bad = ~value.isfinite()
    index = tuple(bad.nonzero()[0].tolist())
    place = index[: steps.dim()]
    step = int(steps[place])
    when = f"step {step}" if step else "the reset"
    return f"FiniteGuard: environment {index[0] if index else 0} gave {value[index].item()} in {key!r} in {when}"


def _step_of_episode(done: Tensor) -> Tensor:
    """Steps since the last end, from 1, ``[*B, T]``."""
    count = torch.arange(1, done.shape[-1] + 1).expand(done.shape)
    ends = torch.where(done, count, 0).cummax(-1).values
    return count - torch.cat((torch.zeros_like(ends[..., :1]), ends[..., :-1]), -1)


def _numbers(tensordict: TensorDictBase) -> list[tuple[Any, Tensor]]:
    return [(key, value) for key, value in tensordict.items(True, True) if value.is_floating_point()]


def _on_cpu(tensordict: TensorDictBase) -> bool:
    return all(value.device.type == "cpu" for _, value in _numbers(tensordict)[:1])
