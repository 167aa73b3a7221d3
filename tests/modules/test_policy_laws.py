"""Laws that hold for every policy that has a log-probability, whatever its distribution."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.distributions import kl_divergence
from torchrl.envs import Compose

from tests.cases import ALL_HEADS, actor_with, bitwise_equal, ravel, trajectories, unravel, weighted
from torchrl_htrpo.batch import RowSampler, effective_sample_size
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import AllGoalSampler, CumulativeGoalRatio, HindsightRelabel
from torchrl_htrpo.modules import action_log_prob, make_critic
from torchrl_htrpo.objectives import GoalVTrace, QKLLoss, SampledKLLoss, StateValue, TrustRegionObjective
from torchrl_htrpo.optim import TrustRegionOptimizer
from torchrl_htrpo.optim.gauss_newton.curvature import curvature_operator

every_head = pytest.mark.parametrize("head", ALL_HEADS)
HORIZON = 5
# torch knows the divergence of these from one another in closed form.
CLOSED_FORM = {
    "categorical", "uniform_share", "one_hot", "gaussian", "multi_categorical", "full_covariance", "recurrent"
}  # fmt: skip
# The inverse of tanh costs digits.
SQUASHED = {"tanh_normal", "tanh_mixture"}


def direction(loss):
    """A unit vector in the space of the parameters."""
    vector = loss.trainable_params.data.apply(torch.randn_like)
    return vector / ravel(vector).norm()


def moved(loss, vector, size):
    return loss.trainable_params.data.apply(lambda leaf, step: leaf + size * step, vector)


def samples(actor, count):
    """Actions drawn in the same five states, and their log-probabilities."""
    batch = trajectories(1, HORIZON, actor=actor).select(*actor.in_keys).expand(count, HORIZON).clone()
    with torch.no_grad():
        return actor(batch)


@every_head
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ratio_is_one_at_the_original_goal(head, dtype):
    actor = actor_with(head, dtype)
    out = CumulativeGoalRatio(actor)(trajectories(actor=actor, dtype=dtype).unsqueeze(0))
    assert torch.allclose(out["action_log_prob"], out["original_log_prob"], rtol=0, atol=1e-6)
    assert effective_sample_size(out["hindsight", "weight"]).item() == pytest.approx(20, rel=1e-4)
    assert out["action_log_prob"].dtype == dtype


@every_head
def test_qkl_is_zero_at_the_old_policy_and_positive_elsewhere(head):
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    loss = QKLLoss(actor)
    assert loss(batch)["loss_qkl"].item() == pytest.approx(0, abs=1e-9 if head in SQUASHED else 1e-14)
    for size in (0.01, 0.1, 1.0):
        _, divergence = loss.rows(batch, moved(loss, direction(loss), size))
        assert (divergence >= 0).all() and divergence.sum() > 0


@every_head
def test_curvature_products_equal_the_dense_matrix(head):
    actor = actor_with(head)
    batch = weighted(actor)
    objective = TrustRegionObjective(actor)
    params = objective.trainable_params.data.clone()
    rows = batch.reshape(-1)[batch["importance_weight"].reshape(-1) > 0]

    def residual(values):
        return objective.divergence.log_ratio(rows, values)

    jacobian = torch.autograd.functional.jacobian(lambda flat: residual(unravel(flat, params)), ravel(params))
    dense = jacobian.T @ (rows["importance_weight"].unsqueeze(-1) * jacobian)
    vector = params.apply(torch.randn_like)
    expected = dense @ ravel(vector)
    _, pushed = torch.func.jvp(residual, (params,), (vector,))
    (plain,) = torch.func.vjp(residual, params)[1](rows["importance_weight"] * pushed)
    factored = curvature_operator(objective.problem(batch), params) @ vector
    scale = expected.norm()
    assert (ravel(plain) - expected).norm() < 1e-10 * scale
    assert (ravel(factored) - expected).norm() < 1e-10 * scale
    assert scale > 1e-3


@every_head
def test_the_dense_curvature_is_the_hessian_of_qkl(head):
    actor = actor_with(head, hidden=(3,))
    batch = weighted(actor, num=2, steps=3)
    objective = TrustRegionObjective(actor)
    params, problem = objective.trainable_params.data.clone(), objective.problem(batch)

    def divergence(flat):
        return torch.stack([term(unravel(flat, params))[1] for term in problem.terms]).sum()

    hessian = torch.autograd.functional.hessian(divergence, ravel(params))
    vector = params.apply(torch.randn_like)
    expected, product = hessian @ ravel(vector), ravel(curvature_operator(problem, params) @ vector)
    # Residuals vanish here up to the rounding of an inverse tanh.
    assert torch.allclose(product, expected, rtol=1e-6, atol=(1e-5 if head in SQUASHED else 1e-10))


@every_head
def test_qkl_approaches_the_kl_at_third_order_in_the_step(head):
    """Proposition 1: E[QKL] - KL is of third order in the step, so halving the step divides it by eight or so."""
    torch.manual_seed(1)
    actor = actor_with(head)
    batch = samples(actor, 40_000)
    loss = QKLLoss(actor)
    vector = direction(loss)
    gaps, kls = [], []
    for size in (0.4, 0.2):
        with torch.no_grad():
            log_ratio = loss.log_ratio(batch, moved(loss, vector, size))
        # KL = E[-log r] = E[r - 1 - log r], the second of low variance, as E[r] = 1.
        kl = (log_ratio.exp() - 1 - log_ratio).double()
        gap = 0.5 * log_ratio.double().square() - kl
        gaps.append(gap.mean().item())
        kls.append(kl.mean().item())
        # Taylor: |r - 1 - log r - (log r)^2 / 2| <= |log r|^3 exp(|log r|) / 6.
        bound = log_ratio.double().abs().pow(3) * log_ratio.double().abs().exp() / 6
        assert (gap.abs() <= bound + 1e-12).all()
    assert kls[0] > 1e-6
    assert 3.0 < kls[0] / kls[1] < 5.5  # of second order
    assert abs(gaps[1]) / kls[1] < 0.75 * abs(gaps[0]) / kls[0] or abs(gaps[1]) < 0.01 * kls[1]


@pytest.mark.parametrize("head", sorted(CLOSED_FORM))
def test_qkl_samples_average_to_the_closed_form(head):
    torch.manual_seed(2)
    actor = actor_with(head)
    batch = samples(actor, 40_000)
    loss, new = QKLLoss(actor), copy.deepcopy(actor)
    with torch.no_grad():
        changed = moved(loss, direction(loss), 0.2)
        dict_of = dict(new.named_parameters())
        for name, leaf in changed.items():
            dict_of[name if name in dict_of else "module." + name].copy_(leaf)
        inputs = batch[0].select(*actor.in_keys)
        exact = kl_divergence(actor.get_dist(inputs.clone()), new.get_dist(inputs.clone())).mean().item()
        divergence = loss.rows(batch, changed)[1]
    noise = 4 * (divergence.std() / math.sqrt(divergence.numel())).item()
    assert exact > 1e-5 and abs(divergence.mean().item() - exact) < noise + 0.1 * exact


@every_head
def test_qkl_varies_less_than_the_plain_estimate(head):
    """Proposition 2, while |log r| <= 0.5."""
    actor = actor_with(head)
    batch = samples(actor, 4_000)
    quadratic, plain = QKLLoss(actor), SampledKLLoss(actor)
    new = moved(quadratic, direction(quadratic), 0.1)
    with torch.no_grad():
        (log_ratio, one), (_, other) = quadratic.rows(batch, new), plain.rows(batch, new)
    near = log_ratio.abs() <= 0.5
    assert near.float().mean() > 0.9
    assert 0 < one[near].var() < other[near].var()


@every_head
def test_a_saved_policy_comes_back_bit_for_bit(head):
    one, two = actor_with(head), actor_with(head)
    batch = trajectories(actor=one)
    assert not torch.equal(action_log_prob(two, batch), batch["action_log_prob"])
    two.load_state_dict(one.state_dict())
    assert torch.equal(action_log_prob(one, batch), action_log_prob(two, batch))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = one(batch.select(*one.in_keys))
        torch.manual_seed(5)
        assert bitwise_equal(first, two(batch.select(*two.in_keys)))


@every_head
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_hindsight_step_is_accepted_within_the_trust_region(head, dtype, device):
    actor, critic = actor_with(head, dtype), make_critic(5, (6,)).to(device, dtype)
    batch, actor = trajectories(6, 5, dtype=dtype, actor=actor).to(device), actor.to(device)
    flow = Compose(AllGoalSampler(), HindsightRelabel(GoalTask(EqualGoals())), CumulativeGoalRatio(actor))
    rows = RowSampler()(GoalVTrace()(StateValue(critic)(flow(batch))))
    objective = TrustRegionObjective(actor, critic)
    before = objective.trainable_params.data.clone()
    result = TrustRegionOptimizer(objective.trainable_params, 1e-3).step(objective.problem(rows))
    assert result.accepted and result.gain > 0 and 0 < result.divergence <= 1.5e-3
    after = ravel(objective.trainable_params.data)
    assert after.isfinite().all() and after.dtype == dtype and not torch.equal(after, ravel(before))


@every_head
def test_float32_agrees_with_float64(head):
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    half = batch.apply(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf)
    rough = action_log_prob(copy.deepcopy(actor).float(), half)
    assert rough.dtype == torch.float32
    assert torch.allclose(rough.double(), batch["action_log_prob"], rtol=1e-4, atol=1e-3)
