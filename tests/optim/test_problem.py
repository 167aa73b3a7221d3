"""A problem sums over its chunks: values, gradient, and rows of weight 0."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.optim.problem import TrustRegionProblem


def problem() -> TrustRegionProblem:
    return TrustRegionProblem(
        [lambda p: ((p["x"] ** 3).sum(), p["x"].sum()), lambda p: (p["x"].prod(), p["x"].square().sum())]
    )


def test_a_problem_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem().terms = []


def test_chunks_add_up():
    surrogate, divergence = problem().values(TensorDict(x=torch.tensor([2.0, 3.0])))
    assert (surrogate, divergence) == (8 + 27 + 6, 5 + 13)


def test_the_gradient_is_that_of_the_summed_surrogate():
    x = torch.tensor([2.0, 3.0], dtype=torch.float64)
    surrogate, divergence, gradient = problem().value_and_gradient(TensorDict(x=x))
    assert (surrogate, divergence) == (41, 18)
    torch.testing.assert_close(gradient["x"], torch.tensor([12.0 + 3.0, 27.0 + 2.0], dtype=torch.float64))


def test_values_are_nan_where_a_distribution_refuses_its_parameters():
    def refuse(params: TensorDict) -> tuple[torch.Tensor, torch.Tensor]:
        torch.distributions.Normal(params["x"], -1.0, validate_args=True)
        raise AssertionError

    assert all(math.isnan(value) for value in TrustRegionProblem([refuse]).values(TensorDict(x=torch.zeros(1))))


@pytest.mark.parametrize(("weights", "expected"), [([], False), ([[0.0, 0.0], [0.0]], True), ([[0.0], [0.5]], False)])
def test_a_problem_is_weightless_where_all_weights_of_its_residuals_are_zero(weights, expected):
    residuals = [(lambda p: p["x"], torch.tensor(weight)) for weight in weights]
    assert TrustRegionProblem(problem().terms, residuals).weightless is expected
