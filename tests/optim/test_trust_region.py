"""The trust-region step on problems whose answer is known, and on ones that fail in every way."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from tensordict import TensorDict

from tests import oracles
from torchrl_htrpo.optim import BacktrackingLineSearch, ConjugateGradient, StepStatus, TrustRegionOptimizer
from torchrl_htrpo.optim.problem import TrustRegionProblem

SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
SCALE = torch.tensor([2.0, 1.0, 4.0], dtype=torch.float64)


def start():
    return TensorDict(x=torch.tensor([0.3, -0.1, 0.7], dtype=torch.float64))


def bowl(params, *, residuals=True, gain=None):
    """Maximise a linear function inside an ellipsoid around the parameters."""
    centre = params["x"].clone()

    def term(p):
        moved = p["x"] - centre
        value = (SLOPE * moved).sum() if gain is None else gain(moved)
        return value, 0.5 * (SCALE * moved.square()).sum()

    pairs = [(lambda p: p["x"] - centre, SCALE)] if residuals else []
    return TrustRegionProblem([term], pairs)


@pytest.mark.parametrize("residuals", [True, False])
def test_the_step_is_the_maximum_on_the_ellipsoid(residuals):
    params = start()
    problem = bowl(params, residuals=residuals)
    result = TrustRegionOptimizer(params, 0.02, damping=0.0, direction=ConjugateGradient(tolerance=1e-12)).step(problem)
    x = SLOPE / SCALE
    expected = start()["x"] + math.sqrt(2 * 0.02 / (SLOPE @ x).item()) * x
    assert result.accepted and torch.allclose(params["x"], expected, atol=1e-12)
    assert result.divergence == pytest.approx(0.02) and result.divergence_before == 0.0
    assert result.gain == pytest.approx(result.expected_gain) == pytest.approx(math.sqrt(2 * 0.02 * (SLOPE @ x).item()))
    assert result.step_norm == pytest.approx((expected - start()["x"]).norm().item()) and result.step_fraction == 1.0


@pytest.mark.parametrize("mode", ["absolute", "relative"])
@pytest.mark.parametrize("with_damping", [False, True])
def test_damping_changes_the_direction_and_optionally_the_length(mode, with_damping):
    params = start()
    optimizer = TrustRegionOptimizer(
        params,
        0.02,
        damping=0.5,
        damping_mode=mode,
        scale_with_damping=with_damping,
        direction=ConjugateGradient(tolerance=1e-12),
    )
    result = optimizer.step(bowl(params))
    matrix = torch.diag(SCALE)
    damping = 0.5 if mode == "absolute" else 0.5 * (SLOPE @ matrix @ SLOPE / (SLOPE @ SLOPE)).item()
    damped = matrix + damping * torch.eye(3, dtype=torch.float64)
    x = torch.linalg.solve(damped, SLOPE)
    expected = start()["x"] + oracles.step_length(damped if with_damping else matrix, x, 0.02) * x
    assert torch.allclose(params["x"], expected, atol=1e-10)
    assert result.damping == pytest.approx(damping)
    assert result.divergence == pytest.approx(0.02) if not with_damping else result.divergence < 0.02


def test_relative_damping_does_not_depend_on_the_scale_of_the_problem():
    ends = []
    for factor in (1.0, 1e-6):
        params = start()
        bare = bowl(params)

        def term(p, bare=bare, factor=factor):
            return tuple(factor * value for value in bare.terms[0](p))

        scaled = TrustRegionProblem([term], [(fn, factor * weight) for fn, weight in bare.residuals])
        TrustRegionOptimizer(params, 0.02 * factor, damping=0.1).step(scaled)
        ends.append(params["x"])
    assert torch.allclose(*ends, atol=1e-9)


REFUSED = {
    "falls": (lambda moved: (SLOPE * moved).sum() - 1e6 * moved.square().sum(), StepStatus.NO_GAIN),
    "nan": (lambda moved: torch.where(moved.any(), torch.nan, (SLOPE * moved).sum()), StepStatus.NON_FINITE),
    "flat": (lambda moved: (SLOPE * moved).sum() * 0, StepStatus.ZERO_GRADIENT),
    "nan_at_once": (lambda moved: (SLOPE * moved).sum() + torch.nan, StepStatus.NON_FINITE),
    "inf_gradient": (lambda moved: (SLOPE * moved).abs().sqrt().sum(), StepStatus.NON_FINITE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_step_leaves_the_parameters_bit_for_bit(name):
    gain, status = REFUSED[name]
    params = start()
    result = TrustRegionOptimizer(params, 0.02).step(bowl(params, gain=gain))
    assert result.status is status and not result.accepted
    assert torch.equal(params["x"], start()["x"]) and result.gain == 0.0 and result.step_fraction == 0.0
    assert result.step_norm == 0.0


def test_a_step_out_of_the_region_is_refused():
    params = start()
    centre = params["x"].clone()
    # The curvature sees a bowl a million times shallower than the divergence is.
    problem = TrustRegionProblem(
        [lambda p: ((SLOPE * p["x"]).sum(), 1e9 * (p["x"] - centre).square().sum())],
        [(lambda p: p["x"] - centre, torch.full((3,), 1e-6, dtype=torch.float64))],
    )
    result = TrustRegionOptimizer(params, 0.02).step(problem)
    assert result.status is StepStatus.OUT_OF_REGION and torch.equal(params["x"], start()["x"])


@pytest.mark.parametrize("tolerance", [1.0, 1.5])
@pytest.mark.parametrize("quartic", [0.0, 1e3, 1e5])
def test_an_accepted_step_never_exceeds_the_divergence_tolerance(tolerance, quartic):
    params = start()
    centre = params["x"].clone()

    def term(p):
        moved = p["x"] - centre
        return (SLOPE * moved).sum(), 0.499 * (SCALE * moved.square()).sum() + quartic * moved.pow(4).sum()

    optimizer = TrustRegionOptimizer(params, 0.02, search=BacktrackingLineSearch(divergence_tolerance=tolerance))
    result = optimizer.step(TrustRegionProblem([term], [(lambda p: p["x"] - centre, SCALE)]))
    there = term(params)[1].item()
    assert result.accepted and there <= 0.02 * tolerance and result.divergence == pytest.approx(there)
    assert (result.trials > 1) == (quartic > 0)


def test_no_rows_is_a_step_that_does_nothing():
    params = start()
    assert TrustRegionOptimizer(params, 0.02).step(TrustRegionProblem([])).status is StepStatus.NO_ROWS
    weightless = TrustRegionProblem(
        [lambda p: (0 * p["x"].sum(), 0 * p["x"].sum())], [(lambda p: p["x"], torch.zeros(3, dtype=torch.float64))]
    )
    assert TrustRegionOptimizer(params, 0.02).step(weightless).status is StepStatus.NO_ROWS
    assert torch.equal(params["x"], start()["x"])


def test_curvature_that_is_not_positive_is_reported():
    params = start()
    problem = TrustRegionProblem([lambda p: ((SLOPE * p["x"]).sum(), -p["x"].square().sum())])
    result = TrustRegionOptimizer(params, 0.02, damping=0.0).step(problem)
    assert result.status is StepStatus.INDEFINITE and torch.equal(params["x"], start()["x"])


@pytest.mark.parametrize("damping_mode", ["relative", "absolute"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_curvature_that_is_not_finite_is_reported(bad, damping_mode):
    params = start()
    problem = bowl(params)
    spoilt = TrustRegionProblem(problem.terms, [(fn, weight * bad) for fn, weight in problem.residuals])
    result = TrustRegionOptimizer(params, 0.02, damping_mode=damping_mode).step(spoilt)
    assert result.status is StepStatus.NON_FINITE and torch.equal(params["x"], start()["x"])


def test_a_trial_that_a_distribution_refuses_is_shortened():
    params = start()
    plain = bowl(params)
    centre = params["x"].clone()

    def term(p):
        if (p["x"] - centre).norm() > 0.05:
            raise ValueError("Expected parameter scale to be positive")
        return plain.terms[0](p)

    result = TrustRegionOptimizer(params, 0.02).step(TrustRegionProblem([term], plain.residuals))
    assert result.accepted and 0 < result.step_fraction < 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_step_restores_the_parameters(error):
    params = start()
    plain, calls = bowl(params), []

    def term(p):
        calls.append(1)
        if not torch.equal(p["x"], start()["x"]):
            raise error
        return plain.terms[0](p)

    with pytest.raises(error):
        TrustRegionOptimizer(params, 0.02).step(TrustRegionProblem([term], plain.residuals))
    assert calls and torch.equal(params["x"], start()["x"])


def test_terms_and_residuals_of_chunks_add_up():
    ends = []
    for chunks in (1, 2, 3):
        params = start()
        centre = params["x"].clone()
        index = torch.arange(3).chunk(chunks)

        def moved(p, i, centre=centre):
            return (p["x"] - centre)[i]

        def term(p, i, moved=moved):
            return (SLOPE[i] * moved(p, i)).sum(), 0.5 * (SCALE[i] * moved(p, i).square()).sum()

        residuals = [(partial(moved, i=i), SCALE[i]) for i in index]
        problem = TrustRegionProblem([partial(term, i=i) for i in index], residuals)
        TrustRegionOptimizer(params, 0.02).step(problem)
        ends.append(params["x"])
    assert torch.allclose(ends[0], ends[1], atol=1e-13) and torch.allclose(ends[0], ends[2], atol=1e-13)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_divergence": 0.0}, "max_divergence must be positive, got 0.0"),
        ({"max_divergence": math.nan}, "max_divergence must be positive, got nan"),
        ({"max_divergence": 1.0, "damping": -1.0}, "damping must be not negative, got -1.0"),
        (
            {"max_divergence": 1.0, "damping_mode": "x"},
            r"damping_mode must be one of the choices, got 'x' \(choices: 'relative'",
        ),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=f"TrustRegionOptimizer: {message}"):
        TrustRegionOptimizer(start(), **kwargs)


def test_a_list_of_parameters_is_refused_with_what_to_give():
    with pytest.raises(
        TypeError, match=r"TrustRegionOptimizer: params must be a tensordict .*trainable_params.*'list'"
    ):
        TrustRegionOptimizer([torch.zeros(2)], 0.02)
