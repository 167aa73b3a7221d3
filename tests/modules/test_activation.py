"""The hyperbolic tangent against torch's own, with derivatives in every mode that the optimizer uses."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from torchrl_htrpo.modules.activation import Tanh

POINTS = torch.cat((torch.linspace(-40, 40, 999, dtype=torch.float64), torch.tensor([0.0, torch.inf, -torch.inf])))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 4e-16), (torch.float32, 2.5e-7)])
def test_it_is_the_hyperbolic_tangent_to_rounding(dtype, error):
    found = Tanh()(POINTS.to(dtype))
    assert found.dtype == dtype
    assert (found.double() - POINTS.to(dtype).double().tanh()).abs().max() <= error


def test_nan_stays_nan():
    assert Tanh()(torch.tensor([torch.nan])).isnan().all()


def test_first_and_second_derivatives_are_those_of_finite_differences():
    x = torch.linspace(-2, 2, 7, dtype=torch.float64, requires_grad=True)
    assert gradcheck(Tanh(), (x,), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(Tanh(), (x,))


@pytest.mark.parametrize(
    "derivative",
    [
        lambda f, x, v: torch.func.vjp(f, x)[1](v)[0],
        lambda f, x, v: torch.func.jvp(f, (x,), (v,))[1],
        lambda f, x, v: torch.func.jvp(torch.func.grad(lambda y: f(y).sum()), (x,), (v,))[1],
        lambda f, x, v: torch.func.vmap(torch.func.grad(lambda y: f(y).square()))(x),
        lambda f, x, v: torch.func.linearize(f, x)[1](v),
    ],
    ids=["vjp", "jvp", "jvp of grad", "vmap of grad", "linearize"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_it_goes_through_the_function_transforms(derivative):
    generator = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 5, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(derivative(Tanh(), x, v), derivative(torch.tanh, x, v), rtol=1e-12, atol=1e-14)


def test_it_compiles_without_a_break():
    x = torch.linspace(-3, 3, 7)
    assert torch.equal(torch.compile(Tanh(), backend="eager", fullgraph=True)(x), Tanh()(x))
