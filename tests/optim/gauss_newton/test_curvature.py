"""Curvature as an operator, against dense matrices and double backward in float64."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    CompositeDistribution,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    set_composite_lp_aggregate,
)
from torch import distributions, nn

from tests.cases import GOAL, HEADS, OBSERVATION, actor_with
from torchrl_htrpo.objectives import KLLoss, QKLLoss, TrustRegionObjective
from torchrl_htrpo.optim import GaussNewtonOperator
from torchrl_htrpo.optim.gauss_newton.curvature import curvature_operator
from torchrl_htrpo.optim.gauss_newton.row_store import RowStore
from torchrl_htrpo.optim.problem import TrustRegionProblem

INPUTS = OBSERVATION + GOAL


class Join(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, observation, goal):
        return self.layers(torch.cat((observation, goal), -1))


class Split(nn.Module):
    def __init__(self, *pieces):
        super().__init__()
        self.pieces = pieces

    def forward(self, features):
        parts = features.split([size for size, _ in self.pieces], -1)
        return tuple(shape(part) for part, (_, shape) in zip(parts, self.pieces, strict=True))


class Tied(nn.Module):
    """One matrix, used as a layer, as a layer again, and as a penalty on the features."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(INPUTS, INPUTS) / 2)

    def forward(self, x):
        hidden = nn.functional.linear(x, self.weight).tanh()
        return nn.functional.linear(hidden, self.weight)[..., :4] + hidden[..., :4] * self.weight.square().mean()


class PerDimension(nn.Module):
    """A layer applied to each input on its own: more inner rows than rows."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(1, 3), nn.Linear(3, 4)

    def forward(self, x):
        return self.outer(self.inner(x.unsqueeze(-1)).tanh().mean(-2))


class Transposed(PerDimension):
    """The same with the dimensions before the rows, so that inner rows do not stand in the order of the rows."""

    def forward(self, x):
        return self.outer(self.inner(x.t().unsqueeze(-1)).tanh().mean(0))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.head = nn.Conv1d(1, 4, 3), nn.Linear(4 * (INPUTS - 2), 4)

    def forward(self, x):
        return self.head(self.trunk(x.unsqueeze(-2)).tanh().flatten(-2))


def dense_layers(*between):
    return nn.Sequential(nn.Linear(INPUTS, 6), *between, nn.Linear(6, 4))


NETWORKS = {
    "inplace_relu": lambda: dense_layers(nn.ReLU(inplace=True)),
    "layer_norm": lambda: dense_layers(nn.LayerNorm(6), nn.SiLU()),
    "batch_norm_in_training": lambda: dense_layers(nn.BatchNorm1d(6), nn.Tanh()),
    "no_bias": lambda: nn.Sequential(nn.Linear(INPUTS, 6, bias=False), nn.Tanh(), nn.Linear(6, 4, bias=False)),
    "tied": Tied,
    "per_dimension": PerDimension,
    "transposed": Transposed,
    "convolution": Convolution,
}


def policy(layers, keys, distribution, **kwargs):
    return ProbabilisticTensorDictSequential(
        TensorDictModule(Join(layers), in_keys=["observation", "desired_goal"], out_keys=keys),
        ProbabilisticTensorDictModule(
            in_keys=keys, out_keys=["action"], distribution_class=distribution, return_log_prob=True, **kwargs
        ),
    ).double()


def mixture(logits, loc, scale):
    components = distributions.Independent(distributions.Normal(loc, scale.exp()), 1)
    return distributions.MixtureSameFamily(distributions.Categorical(logits=logits), components)


def mixture_policy():
    shape = lambda part: part.unflatten(-1, (3, 2))  # noqa: E731
    layers = nn.Sequential(
        nn.Linear(INPUTS, 6), nn.Tanh(), nn.Linear(6, 15), Split((3, nn.Identity()), (6, shape), (6, shape))
    )
    return policy(layers, ["logits", "loc", "scale"], mixture)


def composite_policy():
    layers = nn.Sequential(
        nn.Linear(INPUTS, 6), nn.Tanh(), nn.Linear(6, 7), Split((3, nn.Identity()), (2, nn.Identity()), (2, torch.exp))
    )
    keys = [("params", "turn", "logits"), ("params", "push", "loc"), ("params", "push", "scale")]
    parts = {"turn": distributions.Categorical, "push": distributions.Normal}
    return ProbabilisticTensorDictSequential(
        TensorDictModule(Join(layers), in_keys=["observation", "desired_goal"], out_keys=keys),
        ProbabilisticTensorDictModule(
            in_keys=["params"],
            out_keys=["turn", "push"],
            distribution_class=CompositeDistribution,
            distribution_kwargs={"distribution_map": parts},
            log_prob_key="action_log_prob",
            return_log_prob=True,
        ),
    ).double()


POLICIES = {
    **{name: lambda name=name: actor_with(name, hidden=(6, 5)) for name in HEADS},
    **{
        name: lambda make=make: policy(make(), ["logits"], distributions.Categorical) for name, make in NETWORKS.items()
    },
    "mixture": mixture_policy,
    "composite": composite_policy,
}


def batch_for(actor, rows=13):
    batch = TensorDict(
        observation=torch.randn(rows, OBSERVATION, dtype=torch.float64),
        desired_goal=torch.randn(rows, GOAL, dtype=torch.float64),
        batch_size=[rows],
    )
    with torch.no_grad():
        actor(batch)
    batch["advantage"] = torch.randn(rows, 1, dtype=torch.float64)
    batch["importance_weight"] = torch.rand(rows, dtype=torch.float64)
    return batch


def problem_of(actor, chunk_size=5):
    objective = TrustRegionObjective(actor, chunk_size=chunk_size)
    return objective.problem(batch_for(actor)), objective.trainable_params.data.clone()


def flat(vector):
    return torch.cat([leaf.reshape(-1) for leaf in vector.values(True, True)])


def random_like(params):
    return params.apply(torch.randn_like)


def dense_curvature(problem, params):
    """``sum_m c_m grad r_m grad r_m^T``, one row's gradient at a time."""
    leaves = params.clone().apply(lambda leaf: leaf.requires_grad_())
    total = 0
    for residual, weight in problem.residuals:
        values = residual(leaves)
        for value, share in zip(values, weight, strict=True):
            found = torch.autograd.grad(value, list(leaves.values()), retain_graph=True, materialize_grads=True)
            gradient = torch.cat([part.reshape(-1) for part in found])
            total = total + share * torch.outer(gradient, gradient)
    return total


@pytest.mark.parametrize("memory", ["all", "some", "none"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_product_is_that_of_the_dense_matrix_for_every_policy(name, memory):
    with set_composite_lp_aggregate(name == "composite"):
        _check_against_dense_matrix(name, memory)


def _check_against_dense_matrix(name, memory):
    problem, params = problem_of(POLICIES[name]())
    room = GaussNewtonOperator(problem.residuals, params).kept
    first = sum(factor.num_bytes for factor in room[0].factors)
    store = RowStore({"all": 1 << 20, "some": first, "none": 0}[memory])
    operator = GaussNewtonOperator(problem.residuals, params, store)
    assert [kept is not None for kept in operator.kept].count(True) == {"all": 3, "some": 1, "none": 0}[memory]
    vector = random_like(params)
    expected = dense_curvature(problem, params) @ flat(vector)
    torch.testing.assert_close(flat(operator @ vector), expected, rtol=1e-10, atol=1e-10 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["gaussian", "categorical", "mixture"])
def test_a_product_is_the_double_backward_hessian_product(name):
    problem, params = problem_of(POLICIES[name]())
    leaves = params.clone().apply(lambda leaf: leaf.requires_grad_())
    divergence = sum(0.5 * (weight * residual(leaves).square()).sum() for residual, weight in problem.residuals)
    gradient = torch.autograd.grad(divergence, list(leaves.values()), create_graph=True)
    vector = random_like(params)
    slope = sum((part * vector[key]).sum() for key, part in zip(leaves.keys(), gradient, strict=True))
    expected = torch.cat([part.reshape(-1) for part in torch.autograd.grad(slope, list(leaves.values()))])
    found = flat(GaussNewtonOperator(problem.residuals, params) @ vector)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["gaussian", "convolution", "batch_norm_in_training"])
def test_products_are_linear_symmetric_and_positive(name):
    problem, params = problem_of(POLICIES[name]())
    operator = GaussNewtonOperator(problem.residuals, params)
    a, b = random_like(params), random_like(params)
    assert torch.allclose(flat(a) @ flat(operator @ b), flat(b) @ flat(operator @ a), rtol=1e-10)
    assert torch.allclose(flat(operator @ (a + b)), flat(operator @ a) + flat(operator @ b), rtol=1e-9)
    assert flat(a) @ flat(operator @ a) > 0


def counted(problem):
    calls = []

    def listen(residual):
        def fn(params):
            calls.append(residual)
            return residual(params)

        return fn

    return [(listen(residual), weight) for residual, weight in problem.residuals], calls


def test_residuals_are_evaluated_once_for_all_products_where_memory_allows():
    problem, params = problem_of(POLICIES["gaussian"]())
    residuals, calls = counted(problem)
    operator = GaussNewtonOperator(residuals, params)
    for _ in range(4):
        operator @ params
    assert len(calls) == len(residuals)


def test_without_memory_residuals_are_evaluated_for_each_product():
    problem, params = problem_of(POLICIES["gaussian"]())
    residuals, calls = counted(problem)
    operator = GaussNewtonOperator(residuals, params, RowStore(0))
    before = len(calls)
    operator @ params
    assert len(calls) - before == len(residuals)


def test_the_next_operator_in_the_memory_of_the_last_is_right():
    problem, params = problem_of(POLICIES["gaussian"]())
    store = RowStore()
    for _ in range(2):
        params = random_like(params)
        operator = GaussNewtonOperator(problem.residuals, params, store)
        fresh = GaussNewtonOperator(problem.residuals, params)
        assert torch.equal(flat(operator @ params), flat(fresh @ params))


def test_a_graph_that_is_not_needed_is_freed_at_once():
    problem, params = problem_of(POLICIES["gaussian"]())
    seen = []

    def residual(at):
        value = problem.residuals[0][0](at)
        seen.append(weakref.ref(value))
        return value

    gc.disable()
    try:
        operator = GaussNewtonOperator([(residual, problem.residuals[0][1])], params)
        assert operator.kept
        assert seen[0]() is None
    finally:
        gc.enable()


def test_residuals_that_do_not_depend_on_the_parameters_have_no_curvature():
    params = TensorDict(w=torch.randn(2, 2))
    operator = GaussNewtonOperator([(lambda p: torch.ones(3), torch.ones(3))], params)
    assert not (operator @ params)["w"].any()


def test_an_empty_chunk_adds_nothing():
    params = TensorDict(w=torch.randn(2, 2))
    residual = lambda p, x: nn.functional.linear(x, p["w"]).sum(-1)  # noqa: E731
    x = torch.randn(3, 2)
    some = [(lambda p: residual(p, x), torch.ones(3))]
    none = [(lambda p: residual(p, x[:0]), torch.ones(0))]
    assert torch.equal(
        (GaussNewtonOperator(none + some, params) @ params)["w"], (GaussNewtonOperator(some, params) @ params)["w"]
    )


def test_parameters_are_left_as_they_are_and_need_no_gradient():
    actor = POLICIES["gaussian"]()
    problem, params = problem_of(actor)
    before = params.clone()
    product = GaussNewtonOperator(problem.residuals, params) @ params
    assert all(not leaf.requires_grad for leaf in (*params.values(), *product.values()))
    assert (params == before).all()
    assert all(parameter.grad is None for parameter in actor.parameters())


@pytest.mark.parametrize("divergence", [QKLLoss, KLLoss])
def test_the_curvature_of_a_problem_is_the_dense_hessian_of_its_divergence(divergence):
    actor = actor_with("categorical")
    objective = TrustRegionObjective(actor, divergence=divergence, chunk_size=5)
    problem, params = objective.problem(batch_for(actor)), objective.trainable_params.data.clone()
    operator, vector = curvature_operator(problem, params), random_like(params)

    def distance(vec):
        at = params.clone()
        offset = 0
        for key in list(at.keys()):
            size = at[key].numel()
            at[key] = vec[offset : offset + size].view(at[key].shape)
            offset += size
        return sum(term(at)[1] for term in problem.terms)

    dense = torch.autograd.functional.hessian(distance, flat(params))
    torch.testing.assert_close(flat(operator @ vector), dense @ flat(vector), rtol=1e-9, atol=1e-10)


def test_a_problem_without_residuals_uses_its_terms():
    problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].pow(2).sum())])
    at = TensorDict(x=torch.ones(2))
    assert torch.equal((curvature_operator(problem, at) @ at)["x"], torch.full((2,), 2.0))


def test_products_agree_on_every_device(device):
    actor = POLICIES["gaussian"]()
    batch = batch_for(actor)
    vector = random_like(TrustRegionObjective(actor).trainable_params.data)
    expected = dense_curvature(*on(actor, batch, "cpu")) @ flat(vector)
    problem, params = on(actor, batch, device)
    found = flat(GaussNewtonOperator(problem.residuals, params) @ vector.to(device))
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-10)


def on(actor, batch, device):
    objective = TrustRegionObjective(actor.to(device), chunk_size=5)
    return objective.problem(batch.to(device)), objective.trainable_params.data.clone()
