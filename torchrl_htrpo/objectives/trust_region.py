"""The surrogate objective and its trust region, for TRPO, QKL-TRPO and HTRPO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule, dispatch
from torch import Tensor
from torchrl.objectives import LossModule, distance_loss

from torchrl_htrpo._errors import choice, count, refusal, require, require_shape
from torchrl_htrpo.batch.weights import row_weights
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.distributed import Group
from torchrl_htrpo.objectives.divergence import DivergenceLoss, QKLLoss
from torchrl_htrpo.optim.problem import TrustRegionProblem

_CRITIC_LOSSES = ("l2", "l1", "smooth_l1")


class TrustRegionObjective(LossModule):
    r"""The weighted surrogate, its trust region, and the critic's loss.

    .. math:: \max_\theta \sum_m c_m \frac{\pi_\theta(a|s,g')}{\tilde\pi(a|s,g')} A_m \quad \text{s.t.} \quad
              \sum_m c_m D_m(\theta) \le \delta

    (eqs. 13, 14, 79, 80; :math:`c` is ``importance_weight``, or equal weights). On an ordinary batch with
    ``divergence=KLLoss`` this is TRPO, with ``QKLLoss`` QKL-TRPO, on a relabelled batch HTRPO.

    As a loss module it returns ``loss_objective`` (minus the surrogate), ``loss_critic`` and the divergence; for a
    trust-region step, :meth:`problem` gives the same as functions of the parameters.

    Args:
        actor_network: the policy.
        critic_network: the value operator; without one there is no critic loss.
        divergence: the class of the divergence.
        loss_critic_type: ``"l2"``, ``"l1"`` or ``"smooth_l1"``.
        chunk_size: rows evaluated together in :meth:`problem`; bounds the memory.

    Raises:
        KeyError: if an entry is missing.
        TypeError: if the actor has no distribution.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.modules import CategoricalHead, make_actor
        >>> actor = make_actor(CategoricalHead(4), 8)
        >>> batch = BitFlipEnv(4, num_envs=2).rollout(4, actor)
        >>> batch["advantage"] = torch.randn(2, 4, 1)
        >>> sorted(TrustRegionObjective(actor)(batch).keys())
        ['divergence', 'loss_objective']

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, Section 3; `TRPO <https://arxiv.org/abs/1502.05477>`_.
    """

    @dataclass
    class _AcceptedKeys:
        advantage: NestedKey = "advantage"
        value_target: NestedKey = "value_target"
        value: NestedKey = "state_value"
        weight: NestedKey = "importance_weight"
        action: NestedKey = "action"
        sample_log_prob: NestedKey = "action_log_prob"

    default_keys = _AcceptedKeys
    tensor_keys: _AcceptedKeys
    critic_network: TensorDictModule | None
    critic_network_params: TensorDictParams | None
    target_critic_network_params: TensorDictParams | None

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        critic_network: TensorDictModule | None = None,
        *,
        divergence: type[DivergenceLoss] = QKLLoss,
        loss_critic_type: str = "l2",
        chunk_size: int = 8192,
    ) -> None:
        super().__init__()
        choice(self, "loss_critic_type", loss_critic_type, _CRITIC_LOSSES)
        self.loss_critic_type, self.chunk_size = loss_critic_type, count(self, "chunk_size", chunk_size)
        self.divergence = divergence(actor_network)
        if critic_network is None:
            self.critic_network = self.critic_network_params = self.target_critic_network_params = None
        else:
            self.convert_to_functional(critic_network, "critic_network", create_target_params=False)
        self.out_keys = ["loss_objective", "divergence", *(["loss_critic"] if critic_network is not None else [])]
        keys = self.divergence.tensor_keys
        self.set_keys(action=keys.action, sample_log_prob=keys.sample_log_prob)

    @property
    def trainable_params(self) -> TensorDict:
        """Leaf tensors of the actor, for a trust-region optimizer."""
        return self.divergence.trainable_params

    @dispatch
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Compute the losses of a batch, for a first-order optimizer or a logger."""
        require(self, tensordict, *self.in_keys)
        surrogate, divergence = self._terms(tensordict, self._weights(tensordict))
        out = TensorDict({"loss_objective": -surrogate, "divergence": divergence.detach()})
        return out if self.critic_network is None else out.set("loss_critic", self.loss_critic(tensordict))

    def loss_critic(self, tensordict: TensorDictBase) -> Tensor:
        """Compute the critic's loss, averaged over live rows."""
        if self.critic_network is None or self.critic_network_params is None:
            raise RuntimeError(refusal(self, "critic_network", "given for a critic loss", None))
        states = tensordict.select(*self.critic_network.in_keys)
        with self.critic_network_params.to_module(self.critic_network, preserve_module_state=False):
            value = self.critic_network(states).get(self.tensor_keys.value)
        target = tensordict.get(self.tensor_keys.value_target)
        require_shape(self, tensordict, [1], self.tensor_keys.value_target)
        loss = distance_loss(value, target, self.loss_critic_type)
        return self._reduce_loss(loss.squeeze(-1), tensordict, reduction="mean")

    def problem(
        self,
        tensordict: TensorDictBase,
        curvature_rows: TensorDictBase | None = None,
        *,
        process_group: Group = None,
    ) -> TrustRegionProblem:
        """Create the constrained problem of a batch, as functions of the trainable parameters.

        Args:
            tensordict: ``[*B]``, relabelled and weighted or ordinary, with advantages.
            curvature_rows: rows for the curvature. Default: all rows. Their weights must estimate the same sums.
            process_group: processes with other rows of the same batch. Weights are sums over all processes.

        Returns:
            What a :class:`~torchrl_htrpo.optim.TrustRegionOptimizer` steps on.
        """
        require(self, tensordict, *self.divergence.in_keys, self.tensor_keys.advantage)
        terms = [partial(self._terms, rows, weight) for rows, weight in self._chunks(tensordict)]
        if self.divergence.least_squares:
            chunks = self._chunks(tensordict if curvature_rows is None else curvature_rows)
            residuals = [(self._residual(rows), weight) for rows, weight in chunks]
            return TrustRegionProblem(terms, residuals, process_group=process_group)
        chunks = [] if curvature_rows is None else self._chunks(curvature_rows)
        curvature_terms = [partial(self._divergence_term, rows, weight) for rows, weight in chunks]
        return TrustRegionProblem(terms, curvature_terms=curvature_terms, process_group=process_group)

    def _residual(self, rows: TensorDictBase) -> Callable[[TensorDictBase], Tensor]:
        return partial(self.divergence.log_ratio, rows)

    def _chunks(self, tensordict: TensorDictBase) -> list[tuple[TensorDictBase, Tensor]]:
        weight = self._weights(tensordict).reshape(-1)
        divergence = self.divergence
        live = weight.nonzero().squeeze(-1) if may_wait(weight.device) else weight
        if not len(live):
            return []
        rows = tensordict.select(*divergence.in_keys, self.tensor_keys.advantage, strict=False).reshape(-1)
        if len(live) < len(weight):
            rows, weight = rows[live], weight[live]
        parts = zip(rows.split(self.chunk_size), weight.split(self.chunk_size), strict=True)
        prepared = [(divergence.prepare(part), share) for part, share in parts]
        return prepared if may_wait(weight.device) else [(_safe(part, share), share) for part, share in prepared]

    def _weights(self, tensordict: TensorDictBase) -> Tensor:
        keys = self.tensor_keys
        require_shape(self, tensordict, [], keys.sample_log_prob, keys.weight)
        require_shape(self, tensordict, [1], keys.advantage, keys.value_target)
        like = tensordict.get(keys.sample_log_prob)
        return row_weights(tensordict, self.tensor_keys.weight, like=like)

    def _terms(
        self, rows: TensorDictBase, weight: Tensor, params: TensorDictBase | None = None
    ) -> tuple[Tensor, Tensor]:
        advantage = rows.get(self.tensor_keys.advantage).squeeze(-1)
        log_ratio, divergence = self.divergence.rows(rows, params)
        live = weight != 0
        surrogate = torch.where(live, weight * log_ratio.exp() * advantage, 0)
        return surrogate.sum(), torch.where(live, weight * divergence, 0).sum()

    def _divergence_term(
        self, rows: TensorDictBase, weight: Tensor, params: TensorDictBase | None = None
    ) -> tuple[Tensor, Tensor]:
        """The divergence of a chunk, with a surrogate of 0."""
        _, divergence = self.divergence.rows(rows, params)
        return weight.new_zeros(()), torch.where(weight != 0, weight * divergence, 0).sum()

    def _forward_value_estimator_keys(self, **kwargs: object) -> None:
        shared = {name: key for name, key in kwargs.items() if name in ("weight", "action", "sample_log_prob")}
        self.divergence.set_keys(**shared)
        critic = [] if self.critic_network is None else [*self.critic_network.in_keys, self.tensor_keys.value_target]
        self.in_keys = list(dict.fromkeys([*self.divergence.in_keys, self.tensor_keys.advantage, *critic]))


def _safe(rows: TensorDictBase, weight: Tensor) -> TensorDictBase:
    """Replace rows of weight 0 by the row of the largest weight, without a device synchronisation.

    Their actions may be impossible, and 0 times the derivative of an infinite log-ratio is NaN.
    """
    index = torch.arange(len(weight), device=weight.device)
    return rows[torch.where(weight != 0, index, weight.argmax())]
