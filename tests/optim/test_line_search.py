"""Backtracking accepts the first trial that gains, stays inside and is finite; otherwise it says why none did."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchrl_htrpo.optim import BacktrackingLineSearch


def scripted(*answers):
    """An evaluation that gives the answers in turn and records the steps asked for."""
    steps, left = [], list(answers)

    def evaluate(step):
        steps.append(step)
        return left.pop(0) if left else answers[-1]

    return evaluate, steps


def test_a_good_full_step_is_taken_at_once():
    evaluate, steps = scripted((0.9, 0.5))
    result = BacktrackingLineSearch()(evaluate, expected_gain=1.0, radius=1.0)
    assert result.accepted and result.step == 1.0 and result.trials == 1 and steps == [1.0] and result.worst == ""


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ((math.nan, 0.1), "non_finite"),
        ((0.9, math.inf), "non_finite"),
        ((0.9, 1.51), "divergence"),
        ((0.0, 0.1), "no_gain"),
        ((-0.5, 0.1), "no_gain"),
    ],
)
def test_a_bad_trial_is_shortened_and_the_reason_kept(bad, reason):
    evaluate, steps = scripted(bad, (0.4, 0.4))
    result = BacktrackingLineSearch()(evaluate, expected_gain=1.0, radius=1.0)
    assert result.accepted and steps == [1.0, 0.5] and result.step == 0.5 and result.worst == reason
    evaluate, steps = scripted(bad)
    failed = BacktrackingLineSearch(max_trials=3, shrink=0.1)(evaluate, expected_gain=1.0, radius=1.0)
    assert failed.step == 0.0 and failed.trials == 3 and steps == pytest.approx([1.0, 0.1, 0.01])
    assert not failed.accepted and failed.worst == reason


def test_the_gain_is_measured_against_what_is_expected_of_the_shortened_step():
    evaluate, _ = scripted((0.09, 0.1), (0.06, 0.1))
    assert BacktrackingLineSearch()(evaluate, expected_gain=1.0, radius=1.0).step == 0.5


@given(
    st.lists(st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)), min_size=1, max_size=12),
    st.floats(1e-6, 10),
    st.floats(1, 3),
)
def test_an_accepted_trial_always_gains_within_the_tolerance(answers, radius, tolerance):
    evaluate, _ = scripted(*answers)
    result = BacktrackingLineSearch(divergence_tolerance=tolerance)(evaluate, expected_gain=1.0, radius=radius)
    assert result.trials <= 10
    if result.accepted:
        assert result.gain >= 0.1 * result.step and result.gain > 0 and result.divergence <= radius * tolerance


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_trials": 0}, "max_trials must be a positive integer, got 0"),
        ({"shrink": 1.0}, "shrink must be between 0 and 1, got 1.0"),
        ({"divergence_tolerance": 0.5}, "divergence_tolerance must be at least 1, got 0.5"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=f"BacktrackingLineSearch: {message}"):
        BacktrackingLineSearch(**kwargs)
