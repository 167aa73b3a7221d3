"""Compute the log-probability of given actions."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase, is_tensor_collection
from tensordict.nn import CompositeDistribution, ProbabilisticTensorDictSequential
from torch import Tensor
from torch.distributions import Distribution
from torchrl.modules import MaskedOneHotCategorical, OneHotCategorical

from torchrl_htrpo._errors import ShapeError, refusal, require_shape

_ONE_HOT = (OneHotCategorical, MaskedOneHotCategorical)  # TorchRL gives them no event shape
_ABSENT = Distribution.log_prob  # the inherited method of a distribution without log_prob


def check_log_prob(owner: object, actor: object) -> None:
    """Raise if an actor has no log-probability (TypeError), or writes several (ValueError).

    Several are those of a composite action without ``composite_lp_aggregate``.
    """
    if not isinstance(actor, ProbabilisticTensorDictSequential):
        expected = "a ProbabilisticTensorDictSequential (an actor whose distribution has log_prob)"
        raise TypeError(refusal(owner, "actor", expected, type(actor).__name__))
    distribution = getattr(actor[-1], "distribution_class", None)
    if isinstance(distribution, type) and getattr(distribution, "log_prob", _ABSENT) is _ABSENT:
        raise TypeError(refusal(owner, "actor", "an actor whose distribution has log_prob", distribution.__name__))
    if len(actor.log_prob_keys) != 1:
        expected = (
            "an actor that writes one log-probability (built under set_composite_lp_aggregate(True) if composite)"
        )
        raise ValueError(refusal(owner, "actor", expected, actor.log_prob_keys))


def log_prob_of(dist: Distribution, tensordict: TensorDictBase, action: NestedKey) -> Tensor:
    """Log-probabilities ``[*B]`` of a single action of a batch; a ShapeError if the distribution has another shape."""
    tail = dist.logits.shape[-1:] if isinstance(dist, _ONE_HOT) else dist.event_shape
    if tail:
        require_shape("action_log_prob", tensordict, tail, action)
    scores, shape = dist.log_prob(tensordict.get(action)), tensordict.batch_size
    if scores.shape != shape:
        expected = f"of a shape with log-probabilities {list(shape)}"
        raise ShapeError(refusal("action_log_prob", repr(action), expected, list(tensordict.get(action).shape)))
    return scores


def action_log_prob(
    actor: ProbabilisticTensorDictSequential, tensordict: TensorDictBase, action: NestedKey | None = None
) -> Tensor:
    """Compute ``log pi(a | s, g)`` of the actions of a tensordict.

    Args:
        actor: the policy.
        tensordict: ``[*B]`` with the actor's inputs and actions.
        action: key of a single action; default: where the actor writes it.

    Returns:
        Log-probabilities ``[*B]``; those of a composite action are added up.

    Raises:
        ShapeError: if the action has another shape than the policy gives it.

    Example:
        >>> from torchrl_htrpo.modules import CategoricalHead, make_actor
        >>> from tensordict import TensorDict
        >>> actor = make_actor(CategoricalHead(4), 6)
        >>> td = actor(TensorDict(observation=torch.zeros(2, 3), desired_goal=torch.zeros(2, 3), batch_size=[2]))
        >>> torch.equal(action_log_prob(actor, td), td["action_log_prob"])
        True
    """
    dist = actor.get_dist(tensordict.select(*actor.in_keys))
    if not isinstance(dist, CompositeDistribution):
        return log_prob_of(dist, tensordict, actor.dist_sample_keys[0] if action is None else action)
    scores = dist.log_prob(tensordict.select(*actor.dist_sample_keys))
    if is_tensor_collection(scores):
        parts = [part.reshape(*tensordict.batch_size, -1).sum(-1) for part in scores.values(True, True)]
        return torch.stack(parts).sum(0)
    return scores
