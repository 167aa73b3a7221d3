"""DDPG with a cost on large actions."""

from __future__ import annotations

from typing import Any

from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.objectives import DDPGLoss

from torchrl_htrpo._errors import number


class ActionCostDDPGLoss(DDPGLoss):
    r"""TorchRL's DDPG loss with a cost on the action: the actor minimises :math:`c\,\overline{\pi(s)^2} - Q(s,\pi(s))`.

    The bar is the mean over dimensions, :math:`c` is ``action_cost``. Without the cost a saturated tanh policy has no
    gradient and stays saturated.

    Source: `Multi-Goal Reinforcement Learning <https://arxiv.org/abs/1802.09464>`_, appendix A.
    """

    def __init__(
        self,
        actor_network: TensorDictModule,
        value_network: TensorDictModule,
        *,
        action_cost: float,
        action_key: NestedKey = "action",
        **kwargs: Any,
    ) -> None:
        number(self, "action_cost", action_cost, 0)
        super().__init__(actor_network, value_network, **kwargs)
        self.action_cost, self.action_key = action_cost, action_key

    def loss_actor(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the actor's loss on rows ``[*B]``, without further metrics."""
        rows = tensordict.select(*self.actor_in_keys, *self.value_exclusive_keys, strict=False).detach()
        with self.actor_network_params.to_module(self.actor_network, preserve_module_state=False):
            rows = self.actor_network(rows)
        with self.value_network_params.detach().to_module(self.value_network, preserve_module_state=False):
            rows = self.value_network(rows)
        value, action = rows.get(self.tensor_keys.state_action_value), rows.get(self.action_key)
        loss = self.action_cost * action.square().mean(-1) - value.squeeze(-1)
        return self._reduce_loss(loss, tensordict=tensordict), {}
