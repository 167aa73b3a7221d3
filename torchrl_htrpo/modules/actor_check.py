"""Check a policy's actions against an environment's ``action_spec``."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import CompositeDistribution, ProbabilisticTensorDictSequential, TensorDictModuleBase
from torch import Tensor
from torchrl.data import Binary, Categorical, OneHot, TensorSpec
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import refusal


def check_actor(actor: TensorDictModuleBase, env: EnvBase) -> None:
    """Raise if a policy's actions do not match the environment's ``action_spec`` in key, shape, dtype or domain.

    TorchRL casts what does not fit in silence: an index becomes action 0 of a one-hot space, one number is repeated for
    every motor. The policy is run on an observation of zeros (bools are true); no random number is consumed. Bounds of
    continuous actions are not checked: environments clip.

    Args:
        actor: the policy.
        env: the environment.

    Raises:
        KeyError: if the policy does not write an action that the environment reads.
        ValueError: if an action has another shape or kind of number, or the policy another number of choices.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.modules import CategoricalHead, GaussianHead, make_actor
        >>> check_actor(make_actor(CategoricalHead(4), 8), BitFlipEnv(4))
        >>> check_actor(make_actor(CategoricalHead(3), 8), BitFlipEnv(4))
        Traceback (most recent call last):
        ValueError: check_actor: actor must be a policy among the 4 choices of 'action', got 3 choices
    """
    written = _written(actor, env)
    for key, spec in env.full_action_spec.items(True, True):
        action = written.get(key, default=None)
        if action is None:
            present = [name for name in written.keys(True, True) if name not in env.observation_spec.keys(True, True)]
            raise KeyError(refusal("check_actor", "actor", f"a policy that writes {key!r}", present))
        _check_action(key, action, spec)
    for key, options in _options(actor, written, env.action_keys[0]).items():
        spec = env.full_action_spec[key]
        if isinstance(spec, (Categorical, OneHot)) and not isinstance(spec, Binary) and options != spec.space.n:
            expected = f"a policy among the {spec.space.n} choices of {key!r}"
            raise ValueError(f"{refusal('check_actor', 'actor', expected, options)} choices")


def _written(actor: TensorDictModuleBase, env: EnvBase) -> TensorDictBase:
    """Run the policy on one observation of each environment."""
    seen = env.observation_spec.zero().update(env.full_state_spec.zero()).update(env.full_done_spec.zero())
    bools = {key: torch.ones_like(value) for key, value in seen.items(True, True) if value.dtype == torch.bool}
    seen.update({key: value for key, value in bools.items() if key in env.observation_spec.keys(True, True)})
    parameter = next(actor.parameters(), None)
    device = seen.device if parameter is None else parameter.device
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device and device.type == "cuda" else []):
        return actor(seen if device is None else seen.to(device))


def _check_action(key: NestedKey, action: Tensor, spec: TensorSpec) -> None:
    if action.shape != spec.shape:
        expected = f"a policy whose {key!r} has shape {list(spec.shape)}"
        raise ValueError(refusal("check_actor", "actor", expected, list(action.shape)))
    cast = action.to(spec.device, spec.dtype)
    exact = not spec.dtype.is_floating_point and torch.equal(cast.to(action), action)  # a Bernoulli writes 0.0 and 1.0
    if spec.dtype.is_floating_point != action.dtype.is_floating_point and not exact:
        expected = f"a policy whose {key!r} is of {spec.dtype}"
        raise ValueError(refusal("check_actor", "actor", expected, action.dtype))
    if not spec.dtype.is_floating_point and not spec.is_in(cast):
        expected = f"a policy whose {key!r} is one of the environment's actions"
        raise ValueError(refusal("check_actor", "actor", expected, action.flatten()[:8].tolist()))


def _options(actor: TensorDictModuleBase, written: TensorDictBase, key: NestedKey) -> dict[NestedKey, int]:
    """Number of choices of each categorical distribution of a policy, by the key of its action."""
    if not isinstance(actor, ProbabilisticTensorDictSequential):
        return {}
    dist: Any = actor.build_dist_from_params(written)
    parts = dist.dists if isinstance(dist, CompositeDistribution) else {key: dist}
    logits = {name: getattr(part, "logits", None) for name, part in parts.items()}
    return {name: values.shape[-1] for name, values in logits.items() if values is not None}
