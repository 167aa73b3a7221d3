"""Compute the values of all states under all goals, each once."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase, unravel_key
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor

from torchrl_htrpo._errors import count, require, require_flags
from torchrl_htrpo.batch.mask import MASK_KEY, validity
from torchrl_htrpo.batch.rows import map_rows


class StateValue(TensorDictModuleBase):
    """Compute the values of all live states of trajectories ``[*B, T]`` and of their next states.

    Within a trajectory the state after step ``t`` is the state before step ``t + 1``, so the critic sees each state
    once: ``T + 1`` evaluations for ``T`` steps. Masked steps and states after a termination have the value 0. A batch
    with a mask has one trajectory in a row; otherwise trajectories end at ``("next", "done")``. TorchRL's estimators
    (``TD0Estimator``, ``TDLambdaEstimator``, ``GAE`` with ``value_network=None``) and :class:`GoalVTrace` read the
    written values.

    Args:
        critic: value operator reading the root of a tensordict, writing ``state_value``.
        chunk_size: rows evaluated together; bounds the memory.

    Raises:
        KeyError: if an entry is missing.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.modules import make_critic
        >>> batch = StateValue(make_critic(8))(BitFlipEnv(4, num_envs=2).rollout(4))
        >>> torch.equal(batch["state_value"][:, 1:], batch["next", "state_value"][:, :-1])
        True
    """

    def __init__(self, critic: TensorDictModule, *, chunk_size: int = 8192) -> None:
        super().__init__()
        self.__dict__["critic"] = critic
        self.chunk_size = count(self, "chunk_size", chunk_size)
        self.in_keys = [*critic.in_keys, *(unravel_key(("next", key)) for key in critic.in_keys)]
        self.out_keys = ["state_value", ("next", "state_value")]

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write ``state_value`` and ``("next", "state_value")`` ``[*B, T, 1]``."""
        flags = require(self, tensordict, ("next", "done"), ("next", "terminated"), *self.in_keys)[:2]
        require_flags(self, tensordict, ("next", "done"), ("next", "terminated"))
        done, terminated = (flag.squeeze(-1) for flag in flags)
        live = validity(tensordict)
        value = self._evaluate(tensordict, live)
        # The next value is the value of the next step, except at the end of a trajectory.
        follows = live & ~done & torch.cat((live[..., 1:], torch.zeros_like(live[..., :1])), -1)
        ends = live & ~follows & ~terminated
        one_each = tensordict.get(MASK_KEY, default=None) is not None
        at_ends = self._last(tensordict, live, ends) if one_each else self._evaluate(tensordict.get("next"), ends)
        after = torch.where(follows, torch.cat((value[..., 1:], value[..., :1]), -1), torch.where(ends, at_ends, 0))
        out = tensordict.copy()
        out.set("state_value", value.unsqueeze(-1))
        return out.set(("next", "state_value"), after.unsqueeze(-1))

    def _last(self, tensordict: TensorDictBase, live: Tensor, ends: Tensor) -> Tensor:
        # Each row has one end, so gather it: the evaluation costs 1 / T of the batch.
        steps = torch.arange(live.shape[-1], device=live.device)
        last = torch.where(live, steps, 0).amax(-1, keepdim=True)
        states = tensordict.get("next").select(*self.critic.in_keys)
        values = self._evaluate(_take(states, last), ends.any(-1, keepdim=True))
        return values.expand(live.shape)

    def _evaluate(self, tensordict: TensorDictBase, mask: Tensor) -> Tensor:
        states = tensordict.select(*self.critic.in_keys)
        return map_rows(lambda rows: self.critic(rows).get("state_value").squeeze(-1), states, mask, self.chunk_size)


def _take(states: TensorDictBase, step: Tensor) -> TensorDictBase:
    batch = step.shape

    def one(leaf: Tensor) -> Tensor:
        extra = leaf.shape[len(batch) :]
        index = step.reshape(*batch, *(1 for _ in extra)).expand(*batch, *extra)
        return leaf.gather(len(batch) - 1, index)

    return states.apply(one, batch_size=batch)
