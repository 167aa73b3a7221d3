"""The interval of a success rate is Wilson's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchrl_htrpo.evaluation import success_interval


def wilson(successes: int, episodes: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The formula of docs/metrics.md, written out."""
    rate = successes / episodes
    middle = rate + z**2 / (2 * episodes)
    half = z * math.sqrt(rate * (1 - rate) / episodes + z**2 / (4 * episodes**2))
    scale = 1 + z**2 / episodes
    return (middle - half) / scale, (middle + half) / scale


COUNTS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_the_interval_is_the_documented_formula(counts):
    assert success_interval(*counts) == pytest.approx(wilson(*counts), abs=1e-12)


@given(COUNTS)
def test_the_interval_holds_the_rate_and_stays_within_0_and_1(counts):
    low, high = success_interval(*counts)
    assert 0 <= low <= counts[0] / counts[1] + 1e-12
    assert counts[0] / counts[1] - 1e-12 <= high <= 1


def test_more_confidence_is_a_wider_interval_and_more_episodes_a_narrower_one():
    low, high = success_interval(90, 100)
    sure_low, sure_high = success_interval(90, 100, confidence=0.99)
    many_low, many_high = success_interval(900, 1000)
    assert sure_low < low < many_low < 0.9 < many_high < high < sure_high
