"""Divergences between a policy and the one that collected: QKL, sampled KL, closed-form KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import ProbabilisticTensorDictSequential, dispatch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torchrl.envs import EnvBase
from torchrl.objectives import LossModule

from torchrl_htrpo._errors import ShapeError, refusal, require, require_shape
from torchrl_htrpo.batch.weights import row_weights
from torchrl_htrpo.modules.log_prob import action_log_prob, check_log_prob, log_prob_of

_REFERENCE = "reference"


class DivergenceLoss(LossModule):
    """A weighted divergence between the current policy and the one that collected.

    Subclasses implement :meth:`rows`, the divergence of each row.

    Args:
        actor_network: the policy.

    Raises:
        KeyError: if an entry is missing.
        TypeError: if the actor has no distribution.
        ValueError: if it writes several log-probabilities.
    """

    @dataclass
    class _AcceptedKeys:
        action: NestedKey = "action"
        sample_log_prob: NestedKey = "action_log_prob"
        weight: NestedKey = "importance_weight"

    default_keys = _AcceptedKeys
    tensor_keys: _AcceptedKeys
    actor_network: ProbabilisticTensorDictSequential
    actor_network_params: TensorDictParams
    target_actor_network_params: TensorDictParams

    #: Whether it is half a sum of squares of log-ratios, so that its Hessian is a Gauss-Newton product.
    least_squares: ClassVar[bool] = False
    loss_name: ClassVar[str]

    def __init__(self, actor_network: ProbabilisticTensorDictSequential) -> None:
        check_log_prob(self, actor_network)
        super().__init__()
        self.out_keys = [self.loss_name]
        self.convert_to_functional(actor_network, "actor_network", create_target_params=False)
        self.set_keys(action=actor_network.dist_sample_keys[0], sample_log_prob=actor_network.log_prob_keys[0])

    def rows(self, tensordict: TensorDictBase, params: TensorDictBase | None = None) -> tuple[Tensor, Tensor]:
        """Compute the log-ratio and the divergence of each row.

        Args:
            tensordict: ``[*B]``.
            params: trainable parameters (see :attr:`trainable_params`); default: the current ones.

        Returns:
            Two tensors ``[*B]``.
        """
        raise NotImplementedError

    def prepare(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add entries of the policy before the step that :meth:`rows` needs; by default none."""
        return tensordict

    @property
    def trainable_params(self) -> TensorDict:
        """Trainable leaf tensors, each once, as a tensordict, without buffers and frozen parameters."""
        leaves = self.actor_network_params.flatten_keys(".")
        return TensorDict({name: leaves[name] for name in dict.fromkeys(self._first_names(leaves).values())})

    def log_ratio(self, tensordict: TensorDictBase, params: TensorDictBase | None = None) -> Tensor:
        r"""The residual :math:`\log\pi_\theta(a|s,g') - \log\tilde\pi(a|s,g')` of each row ``[*B]``."""
        return self._log_prob(tensordict, params) - tensordict.get(self.tensor_keys.sample_log_prob)

    def _log_prob(self, tensordict: TensorDictBase, params: TensorDictBase | None) -> Tensor:
        with self._with(params).to_module(self.actor_network, preserve_module_state=False):
            return action_log_prob(self.actor_network, tensordict, self.tensor_keys.action)

    def _with(self, params: TensorDictBase | None) -> TensorDictBase:
        if params is None:
            return self.actor_network_params
        names = self._first_names(self.actor_network_params.flatten_keys("."))
        given = {name: params.get(first) for name, first in names.items()}
        # `.data` detaches the parameters: the given values replace every trainable leaf.
        return self.actor_network_params.data.flatten_keys(".").update(given).unflatten_keys(".")

    @staticmethod
    def _first_names(leaves: TensorDictBase) -> dict[str, str]:
        """Map each name of a trainable leaf to its first name: modules may share parameters."""
        trainable = {k: leaf for k, leaf in leaves.items() if isinstance(leaf, nn.Parameter) and leaf.requires_grad}
        first: dict[int, str] = {}
        return {name: first.setdefault(id(leaf), name) for name, leaf in trainable.items()}

    @dispatch
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Compute the weighted divergence of a batch, as a loss."""
        require(self, tensordict, *self.in_keys)
        require_shape(self, tensordict, [], self.tensor_keys.sample_log_prob, self.tensor_keys.weight)
        _, divergence = self.rows(tensordict)
        weight = row_weights(tensordict, self.tensor_keys.weight, like=divergence)
        return TensorDict({self.loss_name: torch.where(weight != 0, weight * divergence, 0).sum()})

    def _set_in_keys(self) -> None:  # LossModule.set_keys calls it
        parts = self.actor_network.dist_sample_keys
        actions = [self.tensor_keys.action] if len(parts) == 1 else parts
        self.in_keys = [*self.actor_network.in_keys, *actions, self.tensor_keys.sample_log_prob]


class QKLLoss(DivergenceLoss):
    r"""Quadratic KL divergence: :math:`\sum_m c_m \frac12 (\log\tilde\pi - \log\pi_\theta)^2` (eqs. 4, 14, 80).

    It needs only log-probabilities, so it works with any policy that has them. It is never negative, and has lower
    variance than the plain sampled KL while :math:`|\log\tilde\pi - \log\pi_\theta| \le 0.5` (Proposition 2). The
    weights :math:`c` are ``importance_weight``, or equal if the batch has none; masked rows have weight 0.

    Args:
        actor_network: the policy.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl_htrpo.modules import CategoricalHead, make_actor
        >>> actor = make_actor(CategoricalHead(4), 6)
        >>> batch = actor(TensorDict(observation=torch.zeros(2, 3), desired_goal=torch.zeros(2, 3), batch_size=[2]))
        >>> QKLLoss(actor)(batch)["loss_qkl"].item()
        0.0

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, Propositions 1 and 2.
    """

    least_squares = True
    loss_name = "loss_qkl"

    def rows(self, tensordict: TensorDictBase, params: TensorDictBase | None = None) -> tuple[Tensor, Tensor]:
        """See :meth:`DivergenceLoss.rows`."""
        log_ratio = self.log_ratio(tensordict, params)
        return log_ratio, 0.5 * log_ratio.square()


class SampledKLLoss(DivergenceLoss):
    r"""Plain sampled KL divergence: :math:`\sum_m c_m (\log\tilde\pi - \log\pi_\theta)` (the ablation "w/o QKL").

    Args:
        actor_network: the policy.

    Example:
        >>> from torchrl_htrpo.modules import CategoricalHead, make_actor
        >>> SampledKLLoss(make_actor(CategoricalHead(4), 6)).out_keys
        ['loss_sampled_kl']
    """

    loss_name = "loss_sampled_kl"

    def rows(self, tensordict: TensorDictBase, params: TensorDictBase | None = None) -> tuple[Tensor, Tensor]:
        """See :meth:`DivergenceLoss.rows`."""
        log_ratio = self.log_ratio(tensordict, params)
        return log_ratio, -log_ratio


class KLLoss(DivergenceLoss):
    r"""Closed-form KL divergence :math:`\sum_m c_m D_{KL}(\tilde\pi(\cdot|s,g') \| \pi_\theta(\cdot|s,g'))` (eq. 2).

    For distributions with a registered ``kl_divergence`` only. The old policy is the one whose distribution parameters
    :meth:`prepare` wrote, or else those that the collecting actor wrote (correct only without relabelling).

    Args:
        actor_network: the policy.

    Example:
        >>> from torchrl_htrpo.modules import CategoricalHead, make_actor
        >>> KLLoss(make_actor(CategoricalHead(4), 6)).out_keys
        ['loss_kl']

    Source: `Trust Region Policy Optimization <https://arxiv.org/abs/1502.05477>`_.
    """

    loss_name = "loss_kl"

    def prepare(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the distribution parameters of the current policy under ``"reference"``."""
        with torch.no_grad(), self._with(None).to_module(self.actor_network, preserve_module_state=False):
            params = self.actor_network.get_dist_params(tensordict.select(*self.actor_network.in_keys))
        keys = self.actor_network[-1].in_keys
        return tensordict.copy().set(_REFERENCE, params.select(*keys))

    def rows(self, tensordict: TensorDictBase, params: TensorDictBase | None = None) -> tuple[Tensor, Tensor]:
        """See :meth:`DivergenceLoss.rows`."""
        reference = tensordict.get(_REFERENCE, default=tensordict)
        before = reference.select(*self.actor_network[-1].in_keys)
        with self._with(params).to_module(self.actor_network, preserve_module_state=False):
            after = self.actor_network.get_dist_params(tensordict.select(*self.actor_network.in_keys))
            new = self.actor_network.build_dist_from_params(after)
        for key, value in before.items(True, True):
            if value.shape != after.get(key).shape:
                expected = f"of the shape {list(after.get(key).shape)} that the policy writes"
                raise ShapeError(refusal(self, repr(key), expected, list(value.shape)))
        old = self.actor_network.build_dist_from_params(before)
        log_ratio = log_prob_of(new, tensordict, self.tensor_keys.action)
        return log_ratio - tensordict.get(self.tensor_keys.sample_log_prob), kl_divergence(old, new)


def check_divergence(divergence: DivergenceLoss, actor: ProbabilisticTensorDictSequential, env: EnvBase) -> None:
    """Raise a ValueError if the policy's distribution does not support a divergence."""
    with torch.random.fork_rng(), torch.no_grad():
        rows = actor(env.fake_tensordict().select(*actor.in_keys).to(next(actor.parameters()).device)).reshape(-1)
        try:
            divergence(divergence.prepare(rows))
        except NotImplementedError as error:
            expected = f"one that the policy's distribution has ({error})"
            name, choices = type(divergence).__name__, ("QKLLoss", "SampledKLLoss")
            raise ValueError(refusal("check_divergence", "divergence", expected, name, choices)) from error
