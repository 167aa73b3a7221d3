"""DDPG with a cost on the action: TorchRL's at no cost, and the cost's own gradient on top."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDictBase
from torchrl.objectives import DDPGLoss

from tests.recipes.test_bounded_td0 import policy_and_critic, transitions
from torchrl_htrpo.recipes.action_cost_ddpg import ActionCostDDPGLoss


def gradients(loss, rows: TensorDictBase):
    """The actor's loss and its gradients, of the policy and of the critic."""
    value, _ = loss.loss_actor(rows)
    value.backward()
    found = {name: parameter.grad for name, parameter in loss.named_parameters()}
    return value.item(), {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def test_without_a_cost_it_is_torchrls_loss():
    rows, (policy, critic) = transitions(), policy_and_critic()
    losses = [
        make(policy, critic, delay_actor=True, delay_value=True)
        for make in (DDPGLoss, lambda *a, **k: ActionCostDDPGLoss(*a, action_cost=0.0, **k))
    ]
    assert torch.equal(losses[0](rows)["loss_value"], losses[1](rows)["loss_value"])
    one = gradients(losses[0], rows)
    losses[0].zero_grad()
    other = gradients(losses[1], rows)
    assert one[0] == pytest.approx(other[0]) and one[1].keys() == other[1].keys() and one[1]
    assert all(torch.allclose(one[1][name], other[1][name]) for name in one[1])


def test_the_cost_is_the_mean_squared_action():
    rows, (policy, critic) = transitions(), policy_and_critic()
    costs = {}
    for cost in (0.0, 3.0):
        costs[cost] = ActionCostDDPGLoss(policy, critic, action_cost=cost).loss_actor(rows)[0]
    weight, bias = policy.module.weight, policy.module.bias
    action = rows["features"] @ weight.T + bias
    assert (costs[3.0] - costs[0.0]).item() == pytest.approx(3 * action.square().mean().item(), rel=1e-5)


def test_the_critic_does_not_learn_from_the_actors_loss():
    policy, critic = policy_and_critic()
    _, found = gradients(ActionCostDDPGLoss(policy, critic, action_cost=1.0), transitions())
    assert found and all(name.startswith("actor") for name in found)


def test_a_negative_cost_is_refused():
    with pytest.raises(ValueError, match="ActionCostDDPGLoss: action_cost must be not negative, got -1.0"):
        ActionCostDDPGLoss(*policy_and_critic(), action_cost=-1.0)
