"""Conjugate gradients, against dense solutions in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from torchrl_htrpo.checks import set_checks
from torchrl_htrpo.optim import ConjugateGradient


class Dense:
    """A matrix that acts on vectors kept in two pieces, and counts how often."""

    def __init__(self, matrix):
        self.matrix, self.products = matrix, 0

    def __matmul__(self, vector):
        self.products += 1
        return pieces(self.matrix @ flat(vector))


def pieces(vector):
    return TensorDict(a=vector[:2].clone(), b=vector[2:].unsqueeze(0).clone())


def flat(vector):
    return torch.cat((vector["a"], vector["b"].squeeze(0)))


def spd(size, condition=1e2):
    basis, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))
    return basis @ torch.diag(torch.logspace(0, -math.log10(condition), size, dtype=torch.float64)) @ basis.T


@given(size=st.integers(3, 12), damping=st.floats(0, 1), seed=st.integers(0, 100))
def test_as_many_iterations_as_dimensions_solve_the_damped_system(size, damping, seed):
    torch.manual_seed(seed)
    matrix, b = spd(size), torch.randn(size, dtype=torch.float64)
    found = ConjugateGradient(2 * size, tolerance=1e-12)(Dense(matrix), pieces(b), damping=damping)
    expected = torch.linalg.solve(matrix + damping * torch.eye(size, dtype=torch.float64), b)
    torch.testing.assert_close(flat(found.x), expected, rtol=1e-6, atol=1e-8)


def test_what_is_reported_is_what_was_found():
    matrix, b = spd(8), torch.randn(8, dtype=torch.float64)
    found = ConjugateGradient(4, tolerance=0.0)(Dense(matrix), pieces(b), damping=0.1)
    residual = b - matrix @ flat(found.x) - 0.1 * flat(found.x)
    torch.testing.assert_close(flat(found.residual), residual)
    assert found.residual_norm == pytest.approx((residual.norm() / b.norm()).item())
    assert (found.iterations, found.indefinite) == (4, False)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_relative_tolerance_is_independent_of_the_scale_of_the_problem(scale):
    matrix, b = spd(8), torch.randn(8, dtype=torch.float64)
    solver = ConjugateGradient(50, tolerance=1e-3)
    found = solver(Dense(matrix), pieces(scale * b))
    assert found.iterations == solver(Dense(matrix), pieces(b)).iterations
    assert found.residual_norm <= 1e-3


def test_an_absolute_tolerance_is_of_the_squared_residual():
    matrix, b = spd(8), torch.randn(8, dtype=torch.float64)
    found = ConjugateGradient(50, tolerance=1e-4, relative=False)(Dense(matrix), pieces(b))
    assert flat(found.residual).square().sum() <= 1e-4
    before = ConjugateGradient(found.iterations - 1, tolerance=0.0)(Dense(matrix), pieces(b))
    assert flat(before.residual).square().sum() > 1e-4


def test_a_product_that_is_known_is_not_computed_again():
    matrix, b = spd(6), torch.randn(6, dtype=torch.float64)
    plain, saving = Dense(matrix), Dense(matrix)
    solver = ConjugateGradient(4, tolerance=0.0)
    expected = solver(plain, pieces(b), damping=0.1)
    found = solver(saving, pieces(b), damping=0.1, first_product=pieces(matrix @ b))
    assert (plain.products, saving.products) == (4, 3)
    assert torch.equal(flat(found.x), flat(expected.x))


def test_negative_curvature_stops_with_the_last_iterate():
    matrix = torch.diag(torch.tensor([2.0, 1.0, -3.0, 0.5], dtype=torch.float64))
    b = torch.tensor([1.0, 1.0, 0.3, 1.0], dtype=torch.float64)
    found = ConjugateGradient(10)(Dense(matrix), pieces(b))
    assert found.indefinite
    assert 0 < found.iterations < 4
    torch.testing.assert_close(flat(found.residual), b - matrix @ flat(found.x))


def test_negative_curvature_in_the_first_iteration_gives_zero():
    found = ConjugateGradient()(Dense(-torch.eye(4)), pieces(torch.ones(4)))
    assert (found.iterations, found.indefinite, found.x.sum(reduce=True).item()) == (0, True, 0.0)


@pytest.mark.parametrize(
    "matrix",
    [
        spd(8),
        torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0, -1.0, 2.0, 1.0, 1.0])).double(),
        torch.full((8, 8), math.nan),
    ],
    ids=["solved", "indefinite", "nan"],
)
def test_iterations_after_the_end_change_nothing(matrix):
    """With checks off all iterations run."""
    b, solver = pieces(torch.randn(8, dtype=torch.float64)), ConjugateGradient(30, tolerance=1e-2)
    expected = solver(Dense(matrix.double()), b)
    operator = Dense(matrix.double())
    with set_checks("off"):
        found = solver(operator, b)
    assert operator.products == 30 > expected.iterations
    assert torch.equal(flat(found.x), flat(expected.x))
    assert torch.equal(flat(found.residual), flat(expected.residual))
    assert (found.iterations, found.indefinite) == (expected.iterations, expected.indefinite)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_iterations": 0}, "ConjugateGradient: max_iterations must be a positive integer, got 0"),
        ({"tolerance": -1.0}, "ConjugateGradient: tolerance must be not negative, got -1.0"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConjugateGradient(**arguments)
