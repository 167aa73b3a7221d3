"""LinearTap records calls of linear layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from torchrl_htrpo.optim.gauss_newton.linear_tap import LinearTap


def listen(fn, **leaves):
    tap = LinearTap({id(leaf): name for name, leaf in leaves.items()})
    with tap:
        value = fn()
    return value, tap.calls


def test_a_layer_with_given_weights_is_recorded_and_its_weights_leave_the_graph():
    x, w, b = torch.randn(3, 2), torch.randn(4, 2, requires_grad=True), torch.randn(4, requires_grad=True)
    value, (call,) = listen(lambda: functional.linear(x, w, b), w=w, b=b)
    assert (call.weight, call.bias) == ("w", "b")
    assert torch.equal(call.x, x) and torch.equal(value, functional.linear(x, w, b))
    assert torch.autograd.grad(value.sum(), [w, call.y], allow_unused=True)[0] is None


def test_gradients_reach_the_output_even_if_what_follows_writes_over_it():
    x, w = torch.randn(3, 2), torch.randn(4, 2, requires_grad=True)
    value, (call,) = listen(lambda: functional.linear(x, w).relu_().sum(), w=w)
    (slope,) = torch.autograd.grad(value, call.y)
    assert torch.equal(slope, (call.y > 0).float())


def test_linear_modules_are_recorded_and_other_layers_are_not():
    ours, theirs = nn.Linear(2, 3), nn.Linear(3, 1)
    _, calls = listen(lambda: theirs(ours(torch.randn(5, 2))), w=ours.weight, b=ours.bias)
    assert [call.weight for call in calls] == ["w"]


def test_layers_that_cannot_be_factored_stay_in_the_graph():
    w, b = torch.randn(2, 2, requires_grad=True), torch.randn(2, requires_grad=True)
    x = torch.randn(3, 2)
    assert listen(lambda: functional.linear(x, w, b), w=w)[1] == []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert listen(lambda: functional.linear(x, w), w=w)[1] == []
    with torch.no_grad():
        assert listen(lambda: functional.linear(x, w), w=w)[1] == []
