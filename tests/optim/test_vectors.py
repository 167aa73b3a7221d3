"""Vectors kept as tensordicts: inner products in float64, sums in their own dtype."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from tests.cases import ravel
from torchrl_htrpo.optim.vectors import axpy, dot


def vector(dtype=torch.float64):
    return TensorDict(a=torch.randn(3, 2, dtype=dtype), b=torch.randn(4, dtype=dtype))


def test_dot_is_the_inner_product_of_the_flat_vectors():
    a, b = vector(), vector()
    assert dot(a, b).item() == pytest.approx((ravel(a) @ ravel(b)).item())


def test_dot_accumulates_in_float64():
    ones = TensorDict(x=torch.ones(20_000_001))
    assert dot(ones, ones).dtype == torch.float64 and dot(ones, ones) == 20_000_001  # beyond float32's integers


def test_axpy_does_not_round_a_number_to_float32():
    one = TensorDict(x=torch.ones(1, dtype=torch.float64))
    assert axpy(0.1, one, one)["x"].item() == 1.1


@pytest.mark.parametrize("scale", [2.5, torch.tensor(2.5, dtype=torch.float64)])
def test_axpy_adds_a_multiple_and_keeps_the_dtype_and_its_inputs(scale):
    x, y = vector(torch.float32), vector(torch.float32)
    before = ravel(x).clone(), ravel(y).clone()
    out = axpy(scale, x, y)
    assert torch.allclose(ravel(out), 2.5 * before[0] + before[1]) and out["a"].dtype == torch.float32
    assert torch.equal(ravel(x), before[0]) and torch.equal(ravel(y), before[1])
