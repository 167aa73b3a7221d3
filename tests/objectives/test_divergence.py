"""Laws of the divergences, for every policy that has a log-probability."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import nn
from torch.distributions import kl_divergence

from tests import oracles
from tests.cases import HEADS, actor_with, ravel, trajectories, unravel, weighted
from torchrl_htrpo.modules import CategoricalHead, make_actor
from torchrl_htrpo.modules.log_prob import action_log_prob
from torchrl_htrpo.objectives import DivergenceLoss, KLLoss, QKLLoss, SampledKLLoss, TrustRegionObjective
from torchrl_htrpo.optim import TrustRegionOptimizer

LOSSES = [QKLLoss, SampledKLLoss, KLLoss]
CLOSED_FORM = ["categorical", "one_hot", "gaussian", "tanh_normal"]


def moved(loss, size=0.1):
    return loss.trainable_params.data.clone().apply(lambda leaf: leaf + size * torch.randn_like(leaf))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("loss_class", LOSSES)
def test_every_divergence_is_zero_at_the_policy_that_collected(head, loss_class):
    actor = actor_with(head)
    loss = loss_class(actor)
    value = loss(trajectories(actor=actor))[loss.loss_name]
    assert value.item() == pytest.approx(0.0, abs=1e-9 if head == "tanh_normal" else 1e-14)


@pytest.mark.parametrize("head", HEADS)
def test_qkl_is_never_negative_and_its_gradient_vanishes_where_it_is_zero(head):
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    loss = QKLLoss(actor)
    for _ in range(5):
        log_ratio, divergence = loss.rows(batch, moved(loss))
        assert (divergence >= 0).all() and divergence.any()
        assert torch.allclose(divergence, 0.5 * log_ratio.square())
    gradient = torch.func.grad(lambda p: loss.rows(batch, p)[1].sum())(loss.trainable_params.data.clone())
    assert ravel(gradient).abs().max() < 1e-6


@pytest.mark.parametrize("head", ["categorical", "gaussian"])
def test_the_weighted_loss_equals_the_constraint_written_out(head):
    actor = actor_with(head)
    batch = weighted(actor, lengths=[5, 2, 4, 5])
    loss = QKLLoss(actor)
    new = moved(loss)
    with torch.no_grad():
        loss.trainable_params.data.update_(new)
    mask = batch["collector", "mask"]
    log_prob = oracles.categorical_log_prob if head == "categorical" else oracles.gaussian_log_prob
    x = torch.cat((batch["observation"], batch["desired_goal"]), -1)[mask]
    expected = oracles.quadratic_kl(
        lambda weights: log_prob(weights, x, batch["action"][mask]),
        list(actor.parameters()),
        batch["action_log_prob"][mask],
        batch["importance_weight"][mask],
    )
    assert loss(batch)["loss_qkl"].item() == pytest.approx(expected.item(), rel=1e-10) and expected > 0


@pytest.mark.parametrize("head", HEADS)
def test_qkl_and_the_sampled_kl_estimate_the_closed_form_one(head):
    torch.manual_seed(3)
    old, new = actor_with(head), actor_with(head)
    new.load_state_dict({key: value + 0.02 * torch.randn_like(value) for key, value in old.state_dict().items()})
    batch = trajectories(1, 1).expand(40_000, 1).clone()
    with torch.no_grad():
        old(batch)
        exact = kl_divergence(old.get_dist(batch.select(*old.in_keys)), new.get_dist(batch.select(*old.in_keys)))
        for loss in (QKLLoss(new), SampledKLLoss(new)):
            _, divergence = loss.rows(batch)
            error = 4 * (divergence.std() / len(divergence) ** 0.5).item()
            slack = 0.1 * exact.mean().item() if isinstance(loss, QKLLoss) else 0.0  # third order in the step
            assert abs(divergence.mean() - exact.mean()).item() < error + slack
            assert exact.mean() > 0
        log_ratio = QKLLoss(new).log_ratio(batch)
        assert log_ratio.abs().quantile(0.95) < 0.5  # where Proposition 2 holds
        assert QKLLoss(new).rows(batch)[1].std() < SampledKLLoss(new).rows(batch)[1].std()


@pytest.mark.parametrize("head", CLOSED_FORM)
def test_the_closed_form_kl_is_between_whole_distributions_and_prepare_fixes_the_old_one(head):
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    loss = KLLoss(actor)
    prepared = loss.prepare(batch.exclude(*actor[-1].in_keys))
    old = actor.get_dist(batch.select(*actor.in_keys))
    new_params = moved(loss)
    _, divergence = loss.rows(prepared, new_params)
    with torch.no_grad():
        loss.trainable_params.data.update_(new_params)
    expected = kl_divergence(old, actor.get_dist(batch.select(*actor.in_keys)))
    assert torch.allclose(divergence, expected, atol=1e-9) and (divergence > 0).all()
    assert torch.allclose(loss.rows(prepared)[1], expected, atol=1e-9)


@pytest.mark.parametrize("head", HEADS)
def test_forward_derivatives_of_the_log_ratio_are_not_silently_zero(head):
    # tensordict's to_module drops forward-mode tangents unless preserve_module_state=False: a jvp would be 0.
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    loss = QKLLoss(actor)
    params = loss.trainable_params.data.clone()
    vector = params.apply(torch.randn_like)
    _, tangent = torch.func.jvp(lambda p: loss.log_ratio(batch, p), (params,), (vector,))
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: loss.log_ratio(batch, unravel(flat, params)).reshape(-1), ravel(params)
    )
    assert tangent.abs().max() > 1e-3
    assert torch.allclose(tangent.reshape(-1), jacobian @ ravel(vector), atol=1e-10)


@pytest.mark.parametrize("loss_class", LOSSES)
def test_masked_and_compacted_batches_agree(loss_class):
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor, lengths=[5, 2, 1, 3])
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(0.1)
    loss = loss_class(actor)
    compact = batch[batch["collector", "mask"]].exclude("collector")
    assert torch.allclose(loss(batch)[loss.loss_name], loss(compact)[loss.loss_name], rtol=1e-12)
    batch["action_log_prob"][~batch["collector", "mask"]] = torch.nan
    assert loss(batch)[loss.loss_name].isfinite()


@pytest.mark.parametrize("loss_class", LOSSES)
def test_the_loss_module_contract(loss_class):
    actor = actor_with("categorical")
    batch = trajectories(actor=actor)
    loss = loss_class(actor)
    assert loss.out_keys == [loss.loss_name] and loss.loss_name.startswith("loss_")
    assert set(loss.in_keys) == {"observation", "desired_goal", "action", "action_log_prob"}
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    out = loss(batch)
    assert out.batch_size == () and list(out.keys()) == loss.out_keys
    out[loss.loss_name].backward()
    assert all(parameter.grad is not None for parameter in actor.parameters())
    other = loss_class(actor_with("categorical"))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other(batch)[loss.loss_name], out[loss.loss_name])


def test_dispatch_reads_keyword_arguments():
    actor = actor_with("categorical")
    batch = trajectories(2, 3, actor=actor)
    value = QKLLoss(actor)(**{key: batch[key] for key in QKLLoss(actor).in_keys})
    assert torch.equal(value, QKLLoss(actor)(batch)["loss_qkl"])


@pytest.mark.parametrize("loss_class", LOSSES)
def test_keys_can_be_set(loss_class):
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plain = loss_class(actor)
    batch["w"] = torch.rand(4, 5, dtype=torch.float64)
    expected = plain(batch.clone().set("importance_weight", batch["w"]))[plain.loss_name]
    loss = loss_class(actor)
    loss.set_keys(weight="w", action=("moved", "action"), sample_log_prob=("moved", "lp"))
    assert {("moved", "action"), ("moved", "lp")} <= set(loss.in_keys)
    renamed = batch.rename_key_("action", ("moved", "action")).rename_key_("action_log_prob", ("moved", "lp"))
    assert torch.equal(loss(renamed)[loss.loss_name], expected)
    with pytest.raises(ValueError, match="nonsense is not an accepted tensordict key"):
        loss.set_keys(nonsense="x")


def test_parameters_are_shared_with_the_actor_and_frozen_ones_stay_out():
    actor = actor_with("gaussian")
    frozen = actor[0].module.layers[1].log_scale.requires_grad_(False)
    QKLLoss(actor).trainable_params.data.zero_()
    assert frozen.any() and not any(p.any() for p in actor.parameters() if p is not frozen)


def test_nested_action_keys():
    actor = make_actor(CategoricalHead(4), 5, (6,), action_key=("agents", "action"))
    batch = trajectories(actor=actor, dtype=torch.float32)
    loss = QKLLoss(actor)
    assert loss(batch)["loss_qkl"] == 0 and ("agents", "action_log_prob") in loss.in_keys


@pytest.mark.parametrize("loss_class", LOSSES)
def test_an_actor_without_log_prob_is_refused(loss_class):
    with pytest.raises(TypeError, match=rf"{loss_class.__name__}: actor must be a Prob.* has log_prob\), got 'Linear'"):
        loss_class(torch.nn.Linear(2, 2))


def test_the_base_class_leaves_the_divergence_to_its_children():
    class Nameless(DivergenceLoss):
        """A divergence without rows."""

        loss_name = "loss_nameless"

    actor = actor_with("categorical")
    with pytest.raises(NotImplementedError):
        Nameless(actor)(trajectories(actor=actor))


def test_compiled_and_eager_agree():
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor)
    loss = QKLLoss(actor)
    params = moved(loss)
    rows = batch.select(*loss.in_keys)
    compiled = torch.compile(lambda p: loss.rows(rows, p)[1], backend="eager")
    assert torch.allclose(compiled(params), loss.rows(rows, params)[1], atol=1e-14)


@pytest.mark.parametrize("loss_class", LOSSES)
def test_a_missing_entry_is_named(loss_class):
    actor = actor_with("categorical")
    with pytest.raises(KeyError, match=f"{loss_class.__name__}: input must be a tensordict with the key 'action'"):
        loss_class(actor)(trajectories(actor=actor).exclude("action"))


def twins(shared):
    """Observation and goal through encoders that are one module, or two with tied weights."""
    first = nn.Linear(2, 3).double()
    second = first if shared == "module" else nn.Linear(2, 3).double()
    second.weight = first.weight
    head = nn.Sequential(nn.Linear(6, 4).double())
    return ProbabilisticTensorDictSequential(
        TensorDictModule(first, ["observation"], ["a"]),
        TensorDictModule(second, ["desired_goal"], ["b"]),
        TensorDictModule(lambda a, b: torch.cat((a, b), -1).tanh(), ["a", "b"], ["c"]),
        TensorDictModule(head, ["c"], ["logits"]),
        CategoricalHead(4).action_module("action"),
    )


@pytest.mark.parametrize("shared", ["module", "weight"])
@pytest.mark.parametrize("loss_class", [QKLLoss, KLLoss])
def test_weights_that_two_modules_share_are_one_parameter_and_take_the_whole_step(shared, loss_class):
    actor = twins(shared)
    td = TensorDict(observation=torch.randn(30, 2).double(), desired_goal=torch.randn(30, 2).double(), batch_size=[30])
    with torch.no_grad():
        batch = actor(td).select("observation", "desired_goal", "action", "action_log_prob")
    batch["advantage"] = torch.randn(30, 1).double()
    objective = TrustRegionObjective(actor, divergence=loss_class)
    params = objective.trainable_params
    assert len(params.keys()) == len(list(actor.parameters()))
    log_prob = action_log_prob(actor, batch)
    surrogate = ((log_prob - log_prob.detach()).exp() * batch["advantage"].squeeze(-1)).mean()
    gradients = torch.autograd.grad(surrogate, list(actor.parameters()))
    expected = {id(parameter): gradient for parameter, gradient in zip(actor.parameters(), gradients, strict=True)}
    problem = objective.problem(batch)
    _, _, found = problem.value_and_gradient(params.data.clone())
    for name, leaf in params.items():
        torch.testing.assert_close(found[name], expected[id(leaf)])
    before = params.data.clone()
    result = TrustRegionOptimizer(params, 0.01).step(problem)
    assert result.accepted
    moved = {name: (params.data[name] - before[name]).norm().item() for name in params.sorted_keys}
    assert all(distance > 0 for distance in moved.values())
    assert sum(distance**2 for distance in moved.values()) ** 0.5 == pytest.approx(
        result.step_norm * result.step_fraction
    )
