"""The agents of the HER recipe: double DQN and DDPG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.data import Bounded
from torchrl.envs import EnvBase
from torchrl.modules import MLP, AdditiveGaussianModule, EGreedyModule, QValueModule, TanhModule, ValueOperator
from torchrl.objectives import DQNLoss, LossModule

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.modules import action_features
from torchrl_htrpo.recipes.action_cost_ddpg import ActionCostDDPGLoss


@dataclass(frozen=True)
class Agent:
    """The parts of an agent that differ between DQN and DDPG; all read ``features`` of observation and goal."""

    policy: TensorDictSequential  # greedy
    noise: Sequence[nn.Module]  # what exploration does to its action
    loss: LossModule  # TorchRL's, with its target networks


def make_dqn(env: EnvBase, size: int, hidden: Sequence[int], device: str, *, epsilon: float) -> Agent:
    """Create double DQN, with epsilon-greedy exploration."""
    spec, count = env.action_spec_unbatched.to(device), action_features(env.action_spec)
    if not hasattr(spec.space, "n"):
        raise ValueError(refusal("agent=dqn", "env", "an environment with discrete actions", spec, ["agent=ddpg"]))
    q_values = MLP(size, count, num_cells=list(hidden), activation_class=nn.ReLU, device=device)
    policy = TensorDictSequential(
        TensorDictModule(q_values, ["features"], ["action_value"]), QValueModule(spec=spec, action_space="categorical")
    )
    loss = DQNLoss(policy, action_space="categorical", delay_value=True, double_dqn=True)
    return Agent(policy, [EGreedyModule(spec, epsilon, epsilon, device=device)], loss)


def make_ddpg(
    env: EnvBase,
    size: int,
    hidden: Sequence[int],
    device: str,
    *,
    epsilon: float,
    sigma: float,
    action_cost: float,
) -> Agent:
    """Create DDPG, with random actions and Gaussian noise for exploration and a cost on large actions."""
    spec = env.action_spec_unbatched.to(device)
    if not isinstance(spec, Bounded):
        raise ValueError(
            refusal("agent=ddpg", "env", "an environment with bounded continuous actions", spec, ["agent=dqn"])
        )
    count = spec.shape[-1]
    layers = {"num_cells": list(hidden), "activation_class": nn.ReLU, "device": device}
    policy = TensorDictSequential(
        TensorDictModule(MLP(size, count, **layers), ["features"], ["param"]),
        TanhModule(in_keys=["param"], out_keys=["action"], spec=spec),
    )
    critic = ValueOperator(MLP(size + count, 1, **layers), ["features", "action"])
    loss = ActionCostDDPGLoss(policy, critic, action_cost=action_cost, delay_actor=True, delay_value=True)
    noise = [
        AdditiveGaussianModule(spec, sigma_init=sigma, sigma_end=sigma, device=device),
        EGreedyModule(spec, epsilon, epsilon, device=device),
    ]
    return Agent(policy, noise, loss)
