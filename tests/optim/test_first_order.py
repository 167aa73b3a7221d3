"""First-order steps: the gradient is the surrogate's, failures leave the parameters alone."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo import FirstOrderOptimizer, StepStatus
from torchrl_htrpo.optim import TrustRegionProblem

SGD = partial(torch.optim.SGD, lr=0.1)


def quadratic(scale: float = 1.0) -> TrustRegionProblem:
    def term(p: TensorDict) -> tuple[torch.Tensor, torch.Tensor]:
        return scale * (p["x"] - p["x"].square() / 2).sum(), p["x"].square().sum() / 2

    return TrustRegionProblem([term, term])


def test_a_plain_step_moves_along_the_gradient_summed_over_chunks():
    params = TensorDict(x=torch.tensor([0.0, 0.5], dtype=torch.float64))
    result = FirstOrderOptimizer(params, SGD).step(quadratic())
    expected = torch.tensor([0.2, 0.6], dtype=torch.float64)
    torch.testing.assert_close(params["x"], expected)
    assert result.accepted
    assert result.gain == pytest.approx(2 * ((expected - expected**2 / 2).sum() - 0.375).item())
    assert result.expected_gain == pytest.approx(0.2 * 2 * 1.0 + 0.1 * 2 * 0.5)
    assert result.step_norm == pytest.approx((0.2**2 + 0.1**2) ** 0.5)
    assert (result.divergence_before, result.divergence) == pytest.approx((0.25, 0.4))


def test_the_state_of_the_optimizer_persists_between_steps():
    params = TensorDict(x=torch.zeros(1))
    optimizer = FirstOrderOptimizer(params, partial(torch.optim.SGD, lr=0.1, momentum=0.9))
    first = optimizer.step(quadratic()).step_norm
    assert optimizer.step(quadratic()).step_norm > first


def test_the_state_of_the_optimizer_can_be_saved_and_restored():
    adam = partial(torch.optim.Adam, lr=0.1)
    one, other = TensorDict(x=torch.zeros(1)), TensorDict(x=torch.zeros(1))
    first = FirstOrderOptimizer(one, adam)
    first.step(quadratic())
    other["x"].copy_(one["x"])
    second = FirstOrderOptimizer(other, adam)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    first.step(quadratic(-0.5)), second.step(quadratic(-0.5))
    assert torch.equal(one["x"], other["x"])
    fresh = TensorDict(x=torch.full((1,), 0.1))
    FirstOrderOptimizer(fresh, adam).step(quadratic(-0.5))
    assert not torch.equal(one["x"], fresh["x"])


def test_no_rows_and_no_gradient_change_nothing():
    params = TensorDict(x=torch.tensor([0.25]))
    assert FirstOrderOptimizer(params, SGD).step(TrustRegionProblem([])).status is StepStatus.NO_ROWS
    assert FirstOrderOptimizer(params, SGD).step(quadratic(0.0)).status is StepStatus.ZERO_GRADIENT
    assert params["x"].item() == 0.25


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_surrogate_that_is_not_finite_changes_nothing(bad: float):
    params = TensorDict(x=torch.tensor([0.25]))
    assert FirstOrderOptimizer(params, SGD).step(quadratic(bad)).status is StepStatus.NON_FINITE
    assert params["x"].item() == 0.25


def test_a_step_to_non_finite_values_is_undone():
    params = TensorDict(x=torch.tensor([0.25]))
    problem = TrustRegionProblem([lambda p: ((p["x"]).sum(), (0.3 - p["x"]).sqrt().sum())])
    result = FirstOrderOptimizer(params, SGD).step(problem)
    assert result.status is StepStatus.NON_FINITE
    assert params["x"].item() == 0.25
