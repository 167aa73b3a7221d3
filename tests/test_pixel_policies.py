"""Policies that see pixels, through the whole flow: as if every relabelled row had its own picture."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchrl.modules import ConvNet

from tests.cases import GOALS, bitwise_equal, ravel, trajectories, unravel, with_goals
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import CumulativeGoalRatio, HindsightRelabel, ShareStates
from torchrl_htrpo.modules import CategoricalHead, GaussianHead, PixelGoalEncoder, make_actor, make_critic
from torchrl_htrpo.objectives import GoalVTrace, KLLoss, QKLLoss, StateValue, TrustRegionObjective
from torchrl_htrpo.optim import TrustRegionOptimizer
from torchrl_htrpo.optim.gauss_newton.curvature import curvature_operator

SHAPE = (2, 7, 6)
HEADS = {"categorical": lambda: CategoricalHead(4), "gaussian": lambda: GaussianHead(2)}


def encoder():
    trunk = ConvNet(2, num_cells=[2, 3], kernel_sizes=[3, 2], strides=[2, 1], activation_class=nn.Tanh)
    return PixelGoalEncoder(trunk, SHAPE, 2)


def networks(head):
    nets = encoder(), encoder()
    actor = make_actor(HEADS[head](), nets[0].num_features, (6,), encoder=nets[0]).double()
    critic = make_critic(nets[1].num_features, (6,), encoder=nets[1]).double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return actor, critic


def collected(actor):
    """Ragged trajectories ``[4, 5]`` of pictures in bytes."""
    batch = trajectories(lengths=(5, 2, 3, 1))
    states = torch.randint(256, (4, 6, *SHAPE), dtype=torch.uint8)
    batch["observation"], batch["next", "observation"] = states[:, :-1].clone(), states[:, 1:].clone()
    with torch.no_grad():
        return actor(batch)


def flow(actor, critic, batch, *, shared):
    """Collected to relabelled, weighted, with advantages."""
    batch = ShareStates(actor, critic)(batch) if shared else batch
    relabelled = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, GOALS))
    weighted = CumulativeGoalRatio(actor, chunk_size=7)(relabelled)
    return GoalVTrace()(StateValue(critic, chunk_size=7)(weighted))


@pytest.fixture(params=list(HEADS))
def both(request):
    actor, critic = networks(request.param)
    batch = collected(actor)
    return actor, critic, [flow(actor, critic, batch, shared=shared) for shared in (True, False)]


def test_sharing_states_changes_no_result(both):
    _, _, (shared, own) = both
    keys = ["action_log_prob", "importance_weight", "state_value", ("next", "state_value"), "advantage", "value_target"]
    assert own["advantage"].abs().max() > 0
    for key in keys:
        torch.testing.assert_close(shared[key], own[key])


def test_surrogate_gradient_and_critic_loss_are_those_of_rows_with_their_own_pictures(both):
    actor, critic, batches = both
    objective = TrustRegionObjective(actor, critic, chunk_size=8)
    found = [objective.problem(batch).value_and_gradient(objective.trainable_params.data) for batch in batches]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    torch.testing.assert_close(ravel(found[0][2]), ravel(found[1][2]))
    assert any("trunk" in name for name in found[0][2].keys(True)) and ravel(found[0][2]).norm() > 0
    losses = [objective.loss_critic(batch) for batch in batches]
    torch.testing.assert_close(*losses)
    grads = [torch.autograd.grad(loss, list(critic.parameters())) for loss in losses]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("chunk_size", [1000, 9], ids=["one chunk", "several chunks"])
def test_the_curvature_is_the_dense_one_of_rows_with_their_own_pictures(both, chunk_size):
    actor, _, (shared, own) = both
    objective = TrustRegionObjective(actor, chunk_size=chunk_size)
    at = objective.trainable_params.data
    flat = ravel(at)
    ((residual, weight),) = TrustRegionObjective(actor, chunk_size=1000).problem(own).residuals
    jacobian = torch.func.jacrev(lambda x: residual(unravel(x, at)))(flat)
    dense = jacobian.T @ (weight.unsqueeze(-1) * jacobian)
    vector = torch.randn_like(flat)
    product = curvature_operator(objective.problem(shared), at) @ unravel(vector, at)
    torch.testing.assert_close(ravel(product), dense @ vector, rtol=1e-10, atol=1e-12)


def test_the_curvature_of_the_closed_form_kl_goes_through_the_trunk(both):
    actor, _, batches = both
    products = []
    for batch in batches:
        objective = TrustRegionObjective(actor, divergence=KLLoss)
        vector = objective.trainable_params.data.apply(torch.ones_like)
        products.append(ravel(curvature_operator(objective.problem(batch), objective.trainable_params.data) @ vector))
    torch.testing.assert_close(*products)


def test_a_step_is_taken_and_a_refused_one_leaves_the_trunk_alone(both):
    actor, _, (shared, _) = both
    objective = TrustRegionObjective(actor)
    before = objective.trainable_params.data.clone()
    optimizer = TrustRegionOptimizer(objective.trainable_params, 1e-3)
    assert optimizer.step(objective.problem(shared)).accepted
    moved = objective.trainable_params.data.clone()
    assert all((moved[key] != before[key]).any() for key in moved.keys(True) if "trunk" in key)
    shared = shared.copy().set("advantage", torch.full_like(shared["advantage"], torch.nan))
    assert not optimizer.step(objective.problem(shared)).accepted
    assert bitwise_equal(objective.trainable_params.data, moved)


def test_the_ratio_is_one_at_the_goal_that_was_pursued(both):
    actor, _, _ = both
    batch = collected(actor)
    batch["desired_goal"] = GOALS[:1].expand(4, 5, 2).clone()
    batch = actor(batch.exclude("action_log_prob"))
    relabelled = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(ShareStates(actor)(batch), GOALS[:1]))
    weighted = CumulativeGoalRatio(actor)(relabelled)
    live = weighted["collector", "mask"]
    torch.testing.assert_close(weighted["action_log_prob"][live], weighted["original_log_prob"][live])
    assert QKLLoss(actor)(weighted)["loss_qkl"].item() == pytest.approx(0.0, abs=1e-20)
