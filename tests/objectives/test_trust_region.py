"""The objective as a loss, and as a problem: gradients, curvature and step against dense matrices."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDict
from torch.distributions import kl_divergence

from tests import oracles
from tests.cases import HEADS, actor_with, ravel, trajectories, unravel, weighted
from torchrl_htrpo.batch import RowSampler
from torchrl_htrpo.modules import make_critic
from torchrl_htrpo.objectives import KLLoss, QKLLoss, SampledKLLoss, TrustRegionObjective
from torchrl_htrpo.objectives.trust_region import _safe
from torchrl_htrpo.optim import ConjugateGradient, StepStatus, TrustRegionOptimizer
from torchrl_htrpo.optim.gauss_newton.curvature import curvature_operator


def batch_for(actor):
    return weighted(actor, lengths=[5, 2, 4, 5])


def totals(problem, params):
    """Both sums of a problem."""
    parts = [term(params) for term in problem.terms]
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def flat_problem(problem, like):
    """The surrogate, the divergence, the residuals and their weights, as functions of a flat vector."""
    residual = lambda flat: torch.cat([fn(unravel(flat, like)) for fn, _ in problem.residuals])  # noqa: E731
    weight = torch.cat([weight for _, weight in problem.residuals]) if problem.residuals else None
    return (
        lambda flat: totals(problem, unravel(flat, like))[0],
        lambda flat: totals(problem, unravel(flat, like))[1],
        residual,
        weight,
    )


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("chunk_size", [7, 10_000])
def test_gauss_newton_products_equal_double_backward_and_the_dense_matrix(head, chunk_size):
    actor = actor_with(head)
    objective = TrustRegionObjective(actor, chunk_size=chunk_size)
    problem = objective.problem(batch_for(actor))
    params = objective.trainable_params.data.clone()
    _, divergence, residual, weight = flat_problem(problem, params)
    flat = ravel(params)
    dense = oracles.dense_gauss_newton(residual, flat, weight)
    double_backward = oracles.dense_hessian(divergence, flat)
    operator = curvature_operator(problem, params)
    for _ in range(3):
        vector = torch.randn_like(flat)
        product = ravel(operator @ unravel(vector, params))
        scale = product.abs().max()
        assert torch.allclose(product, dense @ vector, atol=1e-10 * scale) and scale > 0
        # TanhNormal clamps actions to the open interval, so its residuals vanish to 1e-7 only.
        slack = 1e-5 if head == "tanh_normal" else 1e-10
        assert torch.allclose(product, double_backward @ vector, atol=slack * scale)


@pytest.mark.parametrize("loss_class", [KLLoss, SampledKLLoss])
def test_other_divergences_use_their_own_hessian(loss_class):
    actor = actor_with("gaussian")
    objective = TrustRegionObjective(actor, divergence=loss_class)
    problem = objective.problem(batch_for(actor))
    params = objective.trainable_params.data.clone()
    dense = oracles.dense_hessian(flat_problem(problem, params)[1], ravel(params))
    vector = torch.randn(len(dense), dtype=torch.float64)
    product = ravel(curvature_operator(problem, params) @ unravel(vector, params))
    assert problem.residuals == () and torch.allclose(product, dense @ vector, atol=1e-10 * product.abs().max())


@pytest.mark.parametrize("head", ["categorical", "gaussian"])
def test_surrogate_divergence_and_gradient_equal_the_equations_written_out(head):
    actor = actor_with(head)
    batch = batch_for(actor)
    mask = batch["collector", "mask"]
    score = oracles.categorical_log_prob if head == "categorical" else oracles.gaussian_log_prob
    weights = list(actor.parameters())
    if head == "gaussian":
        log_scale = actor[0].module.layers[1].log_scale
        weights = [leaf for leaf in weights if leaf is not log_scale] + [log_scale]
    x = torch.cat((batch["observation"], batch["desired_goal"]), -1)[mask]
    rows = [batch[key][mask] for key in ("action_log_prob", "importance_weight", "advantage")]
    old, weight, advantage = rows[0], rows[1], rows[2].squeeze(-1)

    def log_prob(flat):
        return score(oracles.unflatten(flat, weights), x, batch["action"][mask])

    objective = TrustRegionObjective(actor)
    flat = oracles.flatten(weights)
    moved = (flat + 0.1 * torch.randn_like(flat)).requires_grad_()
    expected = oracles.surrogate(log_prob, moved, old, weight, advantage)
    divergence = oracles.quadratic_kl(log_prob, moved, old, weight)
    (gradient,) = torch.autograd.grad(expected, moved)
    with torch.no_grad():
        for leaf, value in zip(weights, oracles.unflatten(moved, weights), strict=True):
            leaf.copy_(value)
    out = objective(batch)
    assert out["loss_objective"].item() == pytest.approx(-expected.item(), rel=1e-10)
    assert (
        out["divergence"].item() == pytest.approx(divergence.item(), rel=1e-10) and not out["divergence"].requires_grad
    )
    out["loss_objective"].backward()
    assert torch.allclose(torch.cat([leaf.grad.reshape(-1) for leaf in weights]), -gradient, atol=1e-12)


@pytest.mark.parametrize("loss_class", [QKLLoss, KLLoss, SampledKLLoss])
def test_chunked_and_whole_masked_and_compacted_problems_agree(loss_class):
    actor = actor_with("gaussian")
    batch = batch_for(actor)
    compact = RowSampler(None)(batch).exclude("collector")
    params = TrustRegionObjective(actor).trainable_params.data.clone()
    params.apply_(lambda leaf: leaf.add_(0.1 * torch.randn_like(leaf)))
    values = []
    for rows, chunk_size in ((batch, 10_000), (batch, 3), (compact, 10_000), (compact.reshape(-1), 8)):
        objective = TrustRegionObjective(actor, divergence=loss_class, chunk_size=chunk_size)
        values.append(torch.stack(totals(objective.problem(rows), params)))
    assert all(torch.allclose(values[0], value, rtol=1e-12) for value in values[1:]) and values[0].all()


def test_what_dead_rows_hold_does_not_matter():
    actor = actor_with("gaussian")
    batch = batch_for(actor)
    params = TrustRegionObjective(actor).trainable_params.data.clone()
    clean = torch.stack(totals(TrustRegionObjective(actor).problem(batch), params))
    batch = batch.clone()
    for key in ("advantage", "action_log_prob", "importance_weight"):
        batch[key][~batch["collector", "mask"]] = torch.nan
    assert torch.equal(torch.stack(totals(TrustRegionObjective(actor).problem(batch), params)), clean)


def test_the_curvature_may_use_other_rows():
    actor = actor_with("gaussian")
    batch, other = batch_for(actor), batch_for(actor)
    objective = TrustRegionObjective(actor)
    params = objective.trainable_params.data.clone()
    vector = params.apply(torch.randn_like)
    mixed = objective.problem(batch, other.exclude("advantage"))
    product = curvature_operator(mixed, params) @ vector
    assert torch.allclose(
        ravel(product), ravel(curvature_operator(objective.problem(other), params) @ vector), atol=1e-12
    )
    assert totals(mixed, params) == totals(objective.problem(batch), params)


@pytest.mark.parametrize("head", HEADS)
def test_trpo_takes_a_step_that_respects_the_closed_form_kl(head):
    actor = actor_with(head)
    batch = trajectories(8, 6, actor=actor)
    batch["advantage"] = torch.randn(8, 6, 1, dtype=torch.float64)
    old = actor.get_dist(batch.select(*actor.in_keys).clone())
    objective = TrustRegionObjective(actor, divergence=KLLoss)
    result = TrustRegionOptimizer(objective.trainable_params, 0.01).step(objective.problem(batch))
    with torch.no_grad():
        divergence = kl_divergence(old, actor.get_dist(batch.select(*actor.in_keys))).mean().item()
    assert result.status is StepStatus.ACCEPTED and result.gain > 0
    assert 0 < divergence <= 0.015 and result.divergence == pytest.approx(divergence, rel=1e-8)


@pytest.mark.parametrize("head", HEADS)
def test_float32_steps_where_float64_does(head):
    actor = actor_with(head)
    batch = batch_for(actor)
    double = TrustRegionObjective(actor)
    gradient = ravel(
        torch.func.grad(lambda p: totals(double.problem(batch), p)[0])(double.trainable_params.data.clone())
    )
    halved = batch.clone().apply(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf)
    single = TrustRegionObjective(actor.float())
    params = single.trainable_params.data.clone()
    other = ravel(torch.func.grad(lambda p: totals(single.problem(halved), p)[0])(params))
    assert torch.nn.functional.cosine_similarity(gradient, other.double(), dim=0) > 1 - 1e-6
    result = TrustRegionOptimizer(single.trainable_params, 1e-3).step(single.problem(halved))
    assert result.accepted and all(leaf.dtype == torch.float32 for leaf in actor.parameters())


def test_a_batch_without_live_rows_is_a_step_that_does_nothing():
    actor = actor_with("gaussian")
    before = [parameter.clone() for parameter in actor.parameters()]
    objective = TrustRegionObjective(actor)
    empty = weighted(actor, lengths=[0, 0, 0, 0])
    for rows in (empty, RowSampler(None)(empty), RowSampler(8)(empty)):
        result = TrustRegionOptimizer(objective.trainable_params, 0.01).step(objective.problem(rows))
        assert result.status is StepStatus.NO_ROWS
    assert all(torch.equal(a, b) for a, b in zip(before, actor.parameters(), strict=True))
    assert objective(empty)["loss_objective"] == 0


@pytest.mark.parametrize("key", ["advantage", "action_log_prob", "importance_weight"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_a_status_and_never_reach_the_parameters(key, bad):
    actor = actor_with("gaussian")
    before = [parameter.clone() for parameter in actor.parameters()]
    batch = batch_for(actor).clone()
    row = tuple(batch["collector", "mask"].nonzero()[0])
    batch[key][row] = bad
    objective = TrustRegionObjective(actor)
    result = TrustRegionOptimizer(objective.trainable_params, 0.01).step(objective.problem(batch))
    assert result.status is StepStatus.NON_FINITE
    assert all(torch.equal(a, b) for a, b in zip(before, actor.parameters(), strict=True))


def test_equal_advantages_of_zero_are_a_zero_gradient():
    actor = actor_with("gaussian")
    batch = batch_for(actor)
    batch["advantage"] = torch.zeros(*batch.shape, 1, dtype=torch.float64)
    objective = TrustRegionObjective(actor)
    result = TrustRegionOptimizer(objective.trainable_params, 0.01).step(objective.problem(batch))
    assert result.status is StepStatus.ZERO_GRADIENT


@pytest.mark.parametrize("kind", ["l2", "l1", "smooth_l1"])
def test_the_critic_loss_is_the_mean_distance_over_live_rows(kind):
    actor, critic = actor_with("gaussian"), make_critic(5, (6,)).double()
    batch = batch_for(actor)
    batch["value_target"] = torch.randn(*batch.shape, 1, dtype=torch.float64)
    objective = TrustRegionObjective(actor, critic, loss_critic_type=kind)
    mask = batch["collector", "mask"]
    x = torch.cat((batch["observation"], batch["desired_goal"]), -1)[mask]
    error = oracles.mlp(list(critic.parameters()), x) - batch["value_target"][mask]
    distance = {
        "l2": error.square(),
        "l1": error.abs(),
        "smooth_l1": torch.where(error.abs() < 1, 0.5 * error.square(), error.abs() - 0.5),
    }[kind]
    out = objective(batch)
    assert out["loss_critic"].item() == pytest.approx(distance.mean().item(), rel=1e-10)
    out["loss_critic"].backward()
    assert all(p.grad is not None for p in critic.parameters()) and all(p.grad is None for p in actor.parameters())


def test_an_objective_without_critic_says_so():
    with pytest.raises(
        RuntimeError, match="TrustRegionObjective: critic_network must be given for a critic loss, got None"
    ):
        TrustRegionObjective(actor_with("gaussian")).loss_critic(TensorDict(batch_size=[1]))


def test_an_actor_without_log_prob_is_refused():
    with pytest.raises(TypeError, match=r"QKLLoss: actor must be a ProbabilisticTensorDictSequential"):
        TrustRegionObjective(torch.nn.Linear(2, 2))


def test_the_loss_module_contract():
    actor, critic = actor_with("gaussian"), make_critic(5, (6,)).double()
    objective = TrustRegionObjective(actor, critic)
    batch = weighted(actor)
    batch["value_target"] = torch.randn(*batch.shape, 1, dtype=torch.float64)
    assert objective.out_keys == ["loss_objective", "divergence", "loss_critic"]
    expected = {"observation", "desired_goal", "action", "action_log_prob", "advantage", "value_target"}
    assert set(objective.in_keys) == expected and len(objective.in_keys) == len(expected)
    assert "loss_critic" not in TrustRegionObjective(actor).out_keys
    assert "value_target" not in TrustRegionObjective(actor).in_keys
    out = objective(batch)
    assert set(out.keys()) == set(objective.out_keys) and out.batch_size == ()
    other = TrustRegionObjective(actor_with("gaussian"), make_critic(5, (6,)).double())
    other.load_state_dict(objective.state_dict())
    assert all(torch.equal(other(batch)[key], out[key]) for key in out.keys())  # noqa: SIM118


def test_dispatch_reads_keyword_arguments():
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor)
    batch["advantage"] = torch.randn(4, 5, 1, dtype=torch.float64)
    objective = TrustRegionObjective(actor)
    loss, divergence = objective(**{key: batch[key] for key in objective.in_keys})
    assert torch.equal(loss, objective(batch)["loss_objective"]) and divergence == 0


def test_keys_can_be_set():
    actor, critic = actor_with("gaussian"), make_critic(5, (6,)).double()
    batch = weighted(actor)
    batch["value_target"] = torch.randn(*batch.shape, 1, dtype=torch.float64)
    expected = TrustRegionObjective(actor, critic)(batch)
    names = {
        "advantage": ("a", "advantage"),
        "value_target": ("a", "target"),
        "weight": ("a", "w"),
        "action": ("a", "action"),
        "sample_log_prob": ("a", "lp"),
    }
    objective = TrustRegionObjective(actor, critic)
    defaults = {name: getattr(objective.tensor_keys, name) for name in names}
    objective.set_keys(**names)
    for name, key in names.items():
        batch.rename_key_(defaults[name], key)
    out = objective(batch)
    assert all(torch.equal(out[key], expected[key]) for key in out.keys())  # noqa: SIM118
    assert {("a", "advantage"), ("a", "target"), ("a", "action"), ("a", "lp")} <= set(objective.in_keys)
    params = objective.trainable_params.data.clone()
    assert torch.allclose(-totals(objective.problem(batch), params)[0], expected["loss_objective"])


def test_buffers_stay_out_of_the_step():
    actor = actor_with("gaussian")
    objective = TrustRegionObjective(actor)
    actor[0].module.register_buffer("statistics", torch.ones(3))
    assert sum(leaf.numel() for leaf in objective.trainable_params.values()) == sum(
        p.numel() for p in actor.parameters()
    )


def test_every_device_takes_the_same_step(device):
    actor = actor_with("gaussian")
    batch = batch_for(actor)
    ends = []
    for place in (torch.device("cpu"), device):
        there = copy.deepcopy(actor).to(place)
        objective = TrustRegionObjective(there)
        # Rounding errors grow with the iterations of conjugate gradients, a thousandfold with each of the last ones.
        optimizer = TrustRegionOptimizer(objective.trainable_params, 0.01, direction=ConjugateGradient(5))
        assert optimizer.step(objective.problem(batch.to(place))).accepted
        ends.append(torch.cat([p.detach().cpu().reshape(-1) for p in there.parameters()]))
    assert torch.allclose(*ends, rtol=0, atol=1e-9)


@pytest.mark.parametrize("missing", ["action_log_prob", "action", "observation", "advantage"])
def test_a_missing_entry_is_named(missing):
    objective = TrustRegionObjective(actor_with("gaussian"))
    batch = batch_for(actor_with("gaussian")).exclude(missing)
    for use in (objective, objective.problem):
        with pytest.raises(
            KeyError, match=f"TrustRegionObjective: input must be a tensordict with the key '{missing}'"
        ):
            use(batch)


@pytest.mark.parametrize("divergence", [KLLoss, SampledKLLoss])
def test_the_hessian_is_taken_of_the_rows_for_the_curvature(divergence):
    actor = actor_with("gaussian")
    objective = TrustRegionObjective(actor, divergence=divergence)
    batch, other = batch_for(actor), batch_for(actor).exclude("advantage")
    params = objective.trainable_params.data.clone()
    vector = unravel(torch.randn_like(ravel(params)), params)
    both, own, alone = (
        curvature_operator(objective.problem(*rows), params) @ vector
        for rows in ((batch, other), (batch,), (other.set("advantage", torch.zeros(*other.shape, 1)),))
    )
    torch.testing.assert_close(ravel(both), ravel(alone))
    assert not torch.allclose(ravel(both), ravel(own))


def test_rows_of_weight_0_are_replaced_by_a_weighted_row():
    rows = TensorDict(x=torch.tensor([1.0, torch.inf, 3.0, torch.nan]), batch_size=[4])
    assert _safe(rows, torch.tensor([0.1, 0.0, 0.5, 0.0]))["x"].tolist() == [1.0, 3.0, 3.0, 3.0]
