"""Linearising one residual per row; products for all kinds of policies are in ``test_curvature.py``."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch.nn import functional

from torchrl_htrpo.optim.gauss_newton.row_jacobian import RowsMixedError, row_jacobian
from torchrl_htrpo.optim.gauss_newton.row_store import RowStore

X = torch.linspace(-1, 1, 12, dtype=torch.float64).view(6, 2)


def params(others=3):
    torch.manual_seed(0)
    return TensorDict(w=torch.randn(2, 2).double(), other=torch.randn(others, 2).double())


def residual(p):
    return (functional.linear(X, p["w"]).tanh() * p["other"].exp().mean(0)).sum(-1)


@pytest.mark.parametrize("others", [3, 30], ids=["few", "many"])
def test_products_do_not_depend_on_whether_layers_are_factored(others):
    at = params(others)
    vector = at.apply(torch.randn_like)
    factored, plain = (row_jacobian(residual, at, factored=factored) for factored in (True, False))
    torch.testing.assert_close(factored.push(vector), plain.push(vector))
    results = []
    for jacobian in (factored, plain):
        into = at.apply(torch.zeros_like)
        jacobian.pull_(X[:, 0], into)
        results.append(into)
    torch.testing.assert_close(results[0]["w"], results[1]["w"])
    torch.testing.assert_close(results[0]["other"], results[1]["other"])


def test_it_is_kept_whole_or_not_at_all():
    jacobian = row_jacobian(residual, params())
    size = sum(factor.num_bytes for factor in jacobian.factors)
    assert jacobian.keep(RowStore(size - 1)) is None
    kept = jacobian.keep(RowStore(size))
    assert torch.equal(kept.push(params()), jacobian.push(params()))


def test_the_memory_of_a_graph_is_counted():
    graph = row_jacobian(residual, params(others=30)).factors[-1]
    assert graph.num_bytes >= X.nbytes


@pytest.mark.parametrize(
    "mixed",
    [lambda y: y.sum(-1) - y.sum(), lambda y: y.sum(-1).flip(0), lambda y: y.sum(-1).cumsum(0)],
    ids=["mean", "order", "sum_so_far"],
)
def test_rows_that_depend_on_one_another_are_seen(mixed):
    with pytest.raises(RowsMixedError):
        row_jacobian(lambda p: mixed(functional.linear(X, p["w"])), params(), check=True)


def test_layers_whose_inputs_are_not_the_rows_are_seen():
    with pytest.raises(RowsMixedError):
        row_jacobian(lambda p: functional.linear(X[:4], p["w"]).sum() * X[:, 0], params())


def test_constant_and_empty_residuals_have_empty_jacobians():
    assert row_jacobian(lambda p: X[:, 0], params()).push(params()).tolist() == [0.0] * 6
    assert row_jacobian(lambda p: functional.linear(X[:0], p["w"]).sum(-1), params()).push(params()).shape == (0,)
