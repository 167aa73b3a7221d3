"""Sums over chunks, and their gradient."""

from __future__ import annotations

import math

import torch
from tensordict import TensorDict

from torchrl_htrpo import TrustRegionProblem
from torchrl_htrpo.optim.values import value_and_gradient, values


def problem() -> TrustRegionProblem:
    return TrustRegionProblem(
        [lambda p: ((p["x"] ** 3).sum(), p["x"].sum()), lambda p: (p["x"].prod(), p["x"].square().sum())]
    )


def test_chunks_add_up():
    surrogate, divergence = values(problem(), TensorDict(x=torch.tensor([2.0, 3.0])))
    assert (surrogate, divergence) == (8 + 27 + 6, 5 + 13)


def test_the_gradient_is_that_of_the_summed_surrogate():
    x = torch.tensor([2.0, 3.0], dtype=torch.float64)
    surrogate, divergence, gradient = value_and_gradient(problem(), TensorDict(x=x))
    assert (surrogate, divergence) == (41, 18)
    torch.testing.assert_close(gradient["x"], torch.tensor([12.0 + 3.0, 27.0 + 2.0], dtype=torch.float64))


def test_a_refused_distribution_is_not_a_number():
    def refuse(params: TensorDict) -> tuple[torch.Tensor, torch.Tensor]:
        torch.distributions.Normal(params["x"], -1.0, validate_args=True)
        raise AssertionError

    assert all(math.isnan(value) for value in values(TrustRegionProblem([refuse]), TensorDict(x=torch.zeros(1))))
