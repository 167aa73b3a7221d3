"""Factors of a Jacobian: each form against the same dense matrix."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.optim.gauss_newton.row_factors import Columns, Graph, LinearRows
from torchrl_htrpo.optim.gauss_newton.row_store import RowStore

ROWS = 5


def linear(inner):
    """A layer that every row uses ``inner`` times, and the Jacobian from its definition."""
    x, slope = torch.randn(ROWS * inner, 3).double(), torch.randn(ROWS * inner, 2).double()
    outer = torch.einsum("ni,nj->nij", slope, torch.cat((x, torch.ones(len(x), 1)), -1))
    outer = outer.view(ROWS, inner, 2, 4).sum(1)
    dense = torch.cat((outer[..., :3].flatten(1), outer[..., 3]), -1)
    return LinearRows("w", "b", x, slope), dense


def columns():
    dense = torch.randn(ROWS, 8).double()
    return Columns({"w": torch.Size([2, 3]), "b": torch.Size([2])}, dense), dense


def graph():
    leaves = {"w": torch.randn(2, 3).double().requires_grad_(), "b": torch.randn(2).double().requires_grad_()}
    x = torch.randn(ROWS, 3).double()
    residual = ((x @ leaves["w"].T).sin() + leaves["b"].exp()).prod(-1)
    rows = [torch.autograd.grad(value, leaves.values(), retain_graph=True) for value in residual]
    dense = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])
    seed = torch.ones(ROWS).double().requires_grad_()
    return Graph(
        leaves, residual, seed, torch.autograd.grad(residual, leaves.values(), seed, create_graph=True), 1
    ), dense


def graph_as_columns():
    factor, dense = graph()
    return factor.columns(), dense


CASES = {
    "linear": lambda: linear(1),
    "linear_used_thrice": lambda: linear(3),
    "columns": columns,
    "graph": graph,
    "graph_as_columns": graph_as_columns,
}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_dense_jacobian(name, kept):
    factor, dense = CASES[name]()
    factor = factor.keep(RowStore()) if kept else factor
    vector = TensorDict(w=torch.randn(2, 3).double(), b=torch.randn(2).double())
    flat = torch.cat((vector["w"].reshape(-1), vector["b"]))
    torch.testing.assert_close(factor.push(vector, ROWS), dense @ flat)
    tangent, into = torch.randn(ROWS).double(), vector.clone()
    factor.pull_(tangent, into)
    torch.testing.assert_close(torch.cat((into["w"].reshape(-1), into["b"])), flat + dense.T @ tangent)


def test_memory_is_counted_in_bytes():
    assert linear(3)[0].num_bytes == 8 * ROWS * 3 * (3 + 2)
    assert columns()[0].num_bytes == 8 * ROWS * 8
