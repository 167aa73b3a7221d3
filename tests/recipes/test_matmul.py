"""use_onednn selects oneDNN where it is exact, and restores the setting elsewhere."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.recipes import matmul

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")


def test_products_are_those_of_float32_whatever_is_chosen():
    matmul.use_onednn()
    x, weight = torch.randn(2, 100, 100)
    exact = x.double() @ weight.double().t()
    error = torch.nn.functional.linear(x, weight).double() - exact
    assert error.norm() / exact.norm() < 1e-6


@pytest.mark.parametrize(("error", "chosen"), [(3e-7, True), (3e-3, False)])
def test_the_setting_is_restored_where_products_are_not_exact(monkeypatch, error, chosen):
    settings = torch.backends.mkldnn.matmul
    settings.fp32_precision = "ieee"
    monkeypatch.setattr(matmul, "product_error", lambda: error)
    assert matmul.use_onednn() is chosen
    assert settings.fp32_precision == ("bf16" if chosen else "ieee")


def test_without_onednn_nothing_is_done(monkeypatch):
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert matmul.use_onednn() is False
    assert settings.fp32_precision == before


@pytest.mark.parametrize("coarse", [0, 1, 2])
def test_a_lower_precision_in_any_of_the_products_is_detected(monkeypatch, coarse):
    exact, calls = torch.mm, []

    def product(a, b):
        calls.append(None)
        return (a.bfloat16() @ b.bfloat16()).float() if len(calls) - 1 == coarse else exact(a, b)

    monkeypatch.setattr(torch, "mm", product)
    assert 1e-4 < matmul.product_error() < 1e-1
    assert len(calls) == 3
