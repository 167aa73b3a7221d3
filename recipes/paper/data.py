"""What is kept of a run, and what is said of several seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap, trim_mean

from torchrl_htrpo.records.tables import Table, read_table, write_table

SUCCESS, RETURN = "eval/success", "train/episode_return"
KEPT = (
    "seconds",
    SUCCESS,
    "eval/success_last",
    "train/success",
    RETURN,
    "train/entropy",
    "hindsight/ess",
    "step/accepted",
    "step/divergence",
)
KEPT_GROUPS = ("estimate/",)
DIGITS = 6


def keep(source: Path, target: Path) -> None:
    """Write the columns that figures and tables need, and the seconds of each iteration."""
    table = read_table(source)
    kept = {name: entries for name, entries in table.items() if name in KEPT or name.startswith(KEPT_GROUPS)}
    seconds: dict[int, float] = {}
    for name, entries in table.items():
        if name.startswith("time/"):
            for step, value in entries:
                seconds[step] = seconds.get(step, 0.0) + value
    if "time/collect" in table:  # else not all of the time is known
        kept["seconds"] = list(seconds.items())
    short = {name: [(step, float(f"{value:.{DIGITS}g}")) for step, value in rows] for name, rows in kept.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_table(short, target)


def seeds_of(data: Path, task: str, system: str) -> list[Table]:
    """The kept runs of a system on a task, seeds in order."""
    files = sorted((data / task / system).glob("seed_*.csv"), key=lambda file: int(file.stem.split("_")[1]))
    return [read_table(file) for file in files]


def metric_of(table: Table) -> str:
    """What a run is judged by: the greedy success rate, or the return of the exploring episodes."""
    return SUCCESS if SUCCESS in table else RETURN


def on_grid(tables: list[Table], metric: str, points: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """A metric of every run ``[seeds, points]`` on a common grid of steps; an ended run keeps its last value."""
    steps = [step for table in tables for step, _ in table[metric]]
    grid = np.linspace(min(steps), max(steps), points)
    return grid, np.stack([np.interp(grid, *zip(*table[metric], strict=True)) for table in tables])


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile bootstrap of the mean over the first axis (the seeds)."""
    if len(values) == 1:
        return values[0], values[0]
    found = bootstrap((values,), np.mean, axis=0, n_resamples=2000, method="percentile", rng=0).confidence_interval
    return found.low, found.high


@dataclass(frozen=True)
class Summary:
    """One system on one task, over seeds."""

    seeds: int
    steps: tuple[int, int]
    mean: float
    low: float
    high: float
    iqm: float
    to_half: list[float]
    to_most: list[float]
    seconds: float


def summary(tables: list[Table]) -> Summary:
    """Summarise the runs of a system: the end of training, the way there, and the time."""
    metric = metric_of(tables[0])
    last = np.array([end_of(table) for table in tables])
    timed = [sum(value for _, value in table["seconds"]) for table in tables if "seconds" in table]
    lengths = [table[metric][-1][0] for table in tables]
    low, high = interval(last)
    return Summary(
        seeds=len(tables),
        steps=(min(lengths), max(lengths)),
        mean=float(last.mean()),
        low=float(low),
        high=float(high),
        iqm=float(trim_mean(last, 0.25)),
        to_half=[steps_to(table[metric], 0.5) for table in tables],
        to_most=[steps_to(table[metric], 0.9) for table in tables],
        seconds=float(np.mean(timed)) if timed else 0.0,
    )


def end_of(table: Table) -> float:
    """The end of a run: its last evaluation, or the mean return of the last tenth of its steps."""
    entries = table[metric_of(table)]
    if metric_of(table) == SUCCESS:
        return entries[-1][1]
    return float(np.mean([value for step, value in entries if step >= 0.9 * entries[-1][0]]))


def steps_to(entries: Iterable[tuple[int, float]], threshold: float) -> float:
    """Environment steps at the first entry at or above a threshold (infinite if none)."""
    return next((float(step) for step, value in entries if value >= threshold), float("inf"))
