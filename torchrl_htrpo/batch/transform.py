"""Base class of transforms on batches of trajectories."""

from __future__ import annotations

from typing import NoReturn

from tensordict import NestedKey, TensorDictBase
from torch import Tensor
from torchrl.envs import Transform

from torchrl_htrpo._errors import refusal, require, require_flags
from torchrl_htrpo.batch.mask import beyond_end, validity
from torchrl_htrpo.checks import may_wait

HINDSIGHT_GOAL: NestedKey = ("hindsight", "goal")
HINDSIGHT_GOAL_MASK: NestedKey = ("hindsight", "goal_mask")
_ONE_A_ROW = (
    "of one trajectory a row: this environment ends episodes early, which HTRPOTrainer splits by itself; "
    "in a loop of your own call torchrl.collectors.utils.split_trajectories(batch) first"
)


class BatchTransform(Transform):
    """Base class: a TorchRL transform of batches, to call directly, in ``Compose`` or in a replay buffer.

    Raises:
        RuntimeError: if it is used in an environment, which has no whole trajectories.
    """

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> NoReturn:
        raise RuntimeError(
            f"{type(self).__name__} works on batches of whole trajectories and cannot be part of an environment: "
            "call it on the collected batch, or append it to a ReplayBuffer."
        )

    def _call(self, next_tensordict: TensorDictBase) -> NoReturn:
        self._reset(next_tensordict, next_tensordict)

    def _require(self, tensordict: TensorDictBase, *keys: NestedKey) -> list[Tensor]:
        return require(self, tensordict, *keys)

    def _first_trajectory(self, tensordict: TensorDictBase) -> Tensor:
        """Valid steps of the first trajectory of each row; raise if a row holds several and checks of values run."""
        valid, keys = validity(tensordict), (("next", "terminated"), ("next", "truncated"))
        require_flags(self, tensordict, *keys)
        flags = [tensordict.get(key, default=None) for key in keys]
        for done in (flag.squeeze(-1) for flag in flags if flag is not None):
            over = beyond_end(done & valid)
            if may_wait(valid.device) and (valid & over).any():
                raise ValueError(refusal(self, "input", _ONE_A_ROW, "steps after the end of a trajectory"))
            valid = valid & ~over
        return valid

    def _refuse_non_finite(self, key: NestedKey, values: Tensor, where: Tensor) -> None:
        """Raise if an entry has NaN or inf on a valid step and checks of values run."""
        if may_wait(values.device) and not values[where].isfinite().all():
            bad = values[where][~values[where].isfinite()][0].item()
            raise ValueError(refusal(self, repr(key), "finite on every live step", bad))
