"""The table of an entry, from the kept runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import LAST, RETURN, Kept, kept_runs
from omegaconf import DictConfig
from stats import iqm_of_seeds

Runs = dict[str, dict[str, list[Kept]]]
HEADER = (
    "task", "system", "seeds", "steps", "any step [95 %]", "last step [95 %]", "first at 0.5", "first at 0.9",
    "minutes", "paper",
)  # fmt: skip


def runs_of(entry: DictConfig, data: Path) -> Runs:
    """The kept runs of an entry, by task and system; those not run are left out."""
    found = {
        task: {system: kept_runs(data, task, system) for system in systems} for task, systems in entry.runs.items()
    }
    some = {task: {system: runs for system, runs in systems.items() if runs} for task, systems in found.items()}
    return {task: systems for task, systems in some.items() if systems}


@dataclass(frozen=True)
class Summary:
    """One system on one task, over seeds: interquartile means at the end with their 95 % intervals."""

    seeds: int
    steps: tuple[int, int]
    unfinished: bool
    end: tuple[float, float, float]
    last: tuple[float, float, float]
    to_half: list[float]
    to_most: list[float]
    seconds: float


def summary(runs: list[Kept]) -> Summary:
    """Summarise the runs of a system: the end of training, the way there, and the time."""
    ends = iqm_of_seeds(np.array([[run.end(), run.end(LAST)] for run in runs]))
    end, last = zip(*(part.tolist() for part in ends), strict=True)
    timed = [sum(value for _, value in run.table["seconds"]) for run in runs if "seconds" in run.table]
    return Summary(
        seeds=len(runs),
        steps=(min(run.steps for run in runs), max(run.steps for run in runs)),
        unfinished=not all(run.record.finished for run in runs),
        end=end,
        last=last,
        to_half=[run.first(0.5) for run in runs],
        to_most=[run.first(0.9) for run in runs],
        seconds=float(np.mean(timed)) if timed else 0.0,
    )


def table_of(cfg: DictConfig, entry: DictConfig, runs: Runs) -> str:
    """The table of an entry in Markdown; a row of the paper that was not run says so."""
    lines = [line_of(HEADER), "|" + "---|" * len(HEADER)]
    for task, systems in entry.runs.items():
        for system in systems:
            paper = str((entry.get("paper") or {}).get(task, {}).get(system, ""))
            if system in runs.get(task, {}):
                lines.append(row(mark(cfg, task), system, runs[task][system], paper))
            elif paper:
                lines.append(line_of((task, system, "not run", *[""] * (len(HEADER) - 4), paper)))
    return "\n".join([*lines, *legend(cfg, [task for task in entry.runs if task in runs])]) + "\n"


def mark(cfg: DictConfig, task: str) -> str:
    """The name of a task, marked if its runs have an older recipe."""
    return f"{task} †" if cfg.tasks[task].get("older") else task


def legend(cfg: DictConfig, tasks: list[str]) -> list[str]:
    """What the older recipes of these tasks were."""
    older = [f"`{task}` {cfg.tasks[task].older}" for task in tasks if cfg.tasks[task].get("older")]
    return ["", f"† An older recipe: {'; '.join(older)}."] if older else []


def row(task: str, system: str, runs: list[Kept], paper: str) -> str:
    """One system on one task."""
    found = summary(runs)
    returns = runs[0].metric == RETURN
    way = ("", "") if returns else (reached(found.to_half), reached(found.to_most))
    last = "" if math.isnan(found.last[0]) else estimate(found.last, found.seeds)
    end = estimate(found.end, found.seeds, 1 if returns else 3)
    steps = lengths(*found.steps) + (" so far" if found.unfinished else "")
    minutes = f"{found.seconds / 60:.1f}" if found.seconds else ""
    return line_of((task, system, found.seeds, steps, end, last, *way, minutes, paper))


def line_of(cells: tuple[object, ...] | list[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def estimate(found: tuple[float, float, float], seeds: int, digits: int = 3) -> str:
    """A value, with its interval if there are several seeds."""
    value, low, high = (f"{part:.{digits}f}" for part in found)
    return f"{value} [{low}, {high}]" if seeds > 1 else value


def reached(steps: list[float]) -> str:
    """Steps of the first and the last seed that reached it, and how many seeds did, if not all."""
    there = sorted(step for step in steps if math.isfinite(step))
    if not there:
        return "-"
    some = f" ({len(there)} of {len(steps)})" if len(there) < len(steps) else ""
    return lengths(there[0], there[-1]) + some


def lengths(shortest: float, longest: float) -> str:
    """Steps from the shortest to the longest."""
    low, high = thousands(shortest), thousands(longest)
    same_unit = low[-2:] == high[-2:]
    return high if low == high else f"{low[:-2] if same_unit else low} to {high}"


def thousands(steps: float) -> str:
    """Steps in thousands or millions, to three digits."""
    scale, unit = (1e6, "M") if steps >= 1e6 else (1e3, "k")
    return f"{float(f'{steps / scale:.3g}'):g} {unit}"
