"""Statistics over seeds and tasks, by rliable (Agarwal et al. 2021): interquartile means, improvement, profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from rliable import library, metrics
from scipy.stats import trim_mean

RESAMPLES = 500


class Estimate(NamedTuple):
    """A value with its 95 % interval; both ends are the value where there is one seed."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm_of_seeds(values: np.ndarray, resamples: int = RESAMPLES) -> Estimate:
    """Interquartile mean over seeds ``[seeds, ...]``, each entry by itself, with a bootstrap interval."""
    if len(values) == 1:
        return Estimate(values[0], values[0], values[0])
    flat = values.reshape(len(values), 1, -1)  # [runs, tasks, entries]
    shape = values.shape[1:]
    found = _interval(flat, lambda scores: trim_mean(scores[:, 0], 0.25), resamples)
    return Estimate(*(part.reshape(shape) for part in found))


def iqm_of_tasks(scores: np.ndarray) -> Estimate:
    """Interquartile mean over seeds and tasks ``[seeds, tasks]``, with a stratified bootstrap interval."""
    return _interval(scores, lambda found: np.array([metrics.aggregate_iqm(found)]), RESAMPLES)


def improvement(ours: np.ndarray, theirs: np.ndarray, resamples: int = 200) -> Estimate:
    """Probability that a run of ours is better than one of theirs, the mean over tasks (``[seeds, tasks]`` each)."""
    found = lambda one, other: np.array([metrics.probability_of_improvement(one, other)])  # noqa: E731
    return _interval([ours, theirs], found, resamples)


def profile(scores: np.ndarray, thresholds: np.ndarray, resamples: int = 300) -> Estimate:
    """Share of runs with a score above each threshold, of scores ``[seeds, tasks]``."""
    with _seeded():
        value, interval = library.create_performance_profile({"": scores}, thresholds, reps=resamples)
    return Estimate(value[""], *interval[""])


def _interval(scores: np.ndarray | list[np.ndarray], function: Callable[..., np.ndarray], resamples: int) -> Estimate:
    with _seeded():
        value, interval = library.get_interval_estimates({"": scores}, function, reps=resamples)
    return Estimate(value[""], *interval[""])


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed NumPy's global generator, from which rliable draws, so that intervals are the same each time."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
