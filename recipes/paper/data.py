"""Keep of each run the columns that tables and figures need, and a record of how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from torchrl_htrpo.records.disk import replace_file
from torchrl_htrpo.records.tables import Table, read_table, write_table

SUCCESS, LAST, RETURN = "eval/success", "eval/success_last", "train/episode_return"
KEPT = (
    "seconds",
    SUCCESS,
    LAST,
    "eval/episodes",
    "train/success",
    RETURN,
    "train/entropy",
    "hindsight/ess",
    "step/accepted",
    "step/divergence",
)
KEPT_GROUPS = ("estimate/",)
DIGITS = 6


@dataclass(frozen=True)
class Record:
    """How a kept run was made; ``settings`` and ``commits`` are empty where that is not known."""

    finished: bool = True
    settings: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record; a run without one is finished."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    @classmethod
    def of_run(cls, folder: Path) -> Record:
        """The record of a run, from its folder."""
        asked, mark, record = (folder / name for name in ("settings.json", "finished.json", "run.json"))
        starts = json.loads(record.read_text())["starts"] if record.exists() else []
        commits = dict.fromkeys(start["commit"][:7] for start in starts if start.get("commit"))
        known = next((json.loads(path.read_text()) for path in (asked, mark) if path.exists()), [])
        return cls(mark.exists() and json.loads(mark.read_text()) == known, known, list(commits))

    def write(self, path: Path) -> None:
        """Write it."""
        replace_file(path, (json.dumps(asdict(self), indent=1) + "\n").encode())


@dataclass(frozen=True)
class Kept:
    """A kept run: its curves and its record."""

    table: Table
    record: Record = Record()

    @property
    def metric(self) -> str:
        """The metric to judge it by: the greedy success rate, or the return of the exploring episodes."""
        return SUCCESS if SUCCESS in self.table else RETURN

    @property
    def steps(self) -> int:
        """Environment steps at its last entry."""
        return self.table[self.metric][-1][0]

    def end(self, metric: str | None = None, until: float = float("inf")) -> float:
        """A success at the last evaluation (not after ``until``), or the mean return of the last tenth of the steps.

        Args:
            metric: default: :attr:`metric`. NaN if it was not measured.
            until: environment steps.
        """
        entries = [entry for entry in self.table.get(metric or self.metric, []) if entry[0] <= until]
        if not entries:
            return float("nan")
        if (metric or self.metric) != RETURN:
            return entries[-1][1]
        return float(np.mean([value for step, value in entries if step >= 0.9 * entries[-1][0]]))

    def first(self, threshold: float, metric: str | None = None) -> float:
        """Environment steps at the first entry at or above a threshold; infinite if there is none."""
        return steps_to(self.table.get(metric or self.metric, []), threshold)


def place_of(data: Path, task: str, system: str, seed: int) -> Path:
    """The file of a kept run."""
    return data / task / system / f"seed_{seed}.csv"


def keep(source: Path, target: Path, record: Record | None = None) -> None:
    """Write the columns that are needed and the seconds of each iteration; beside it the record, if there is one."""
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
    if record is not None:
        record.write(target.with_suffix(".json"))


def kept_runs(data: Path, task: str, system: str) -> list[Kept]:
    """The kept runs of a system on a task, seeds in order."""
    files = sorted((data / task / system).glob("seed_*.csv"), key=lambda file: int(file.stem.split("_")[1]))
    return [Kept(read_table(file), Record.read(file.with_suffix(".json"))) for file in files]


def on_grid(tables: list[Table], metric: str, points: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A metric of every run ``[seeds, points]`` on a common grid of steps; an ended run keeps its last value."""
    steps = [step for table in tables for step, _ in table[metric]]
    grid = np.linspace(min(steps), max(steps), points)
    return grid, np.stack([np.interp(grid, *zip(*table[metric], strict=True)) for table in tables])


def steps_to(entries: Iterable[tuple[int, float]], threshold: float) -> float:
    """Environment steps at the first entry at or above a threshold (infinite if none)."""
    return next((float(step) for step, value in entries if value >= threshold), float("inf"))
