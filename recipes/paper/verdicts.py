"""Compare the kept runs with the numbers of the paper and with wanted values (``config/paper.yaml``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import LAST, SUCCESS, Kept, kept_runs
from omegaconf import DictConfig
from stats import iqm_of_seeds
from tables import Summary, estimate, lengths, line_of, summary, thousands

from torchrl_htrpo.evaluation import success_interval

HEADER = (
    "task", "system", "paper", "any step [95 %]", "last step [95 %]", "seeds", "steps", "verdict", "wanted",
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """A wanted value, and whether the runs reach it."""

    text: str
    met: bool

    def __str__(self) -> str:
        return f"{self.text}: {'yes' if self.met else 'no'}"


@dataclass(frozen=True)
class Comparison:
    """One system on one task, compared with the paper."""

    task: str
    system: str
    paper: str
    end: str
    last: str
    seeds: str
    steps: str
    verdict: str
    goals: list[Goal]

    @property
    def line(self) -> str:
        """Its line of the table."""
        wanted = "; ".join(map(str, self.goals))
        cells = (self.task, self.system, self.paper, self.end, self.last, self.seeds, self.steps, self.verdict)
        return line_of((*cells, wanted))


def comparisons(cfg: DictConfig, data: Path) -> list[Comparison]:
    """Every row of ``config/paper.yaml``."""
    return [compare(row, kept_runs(data, *row.data.split("/"))) for row in cfg.rows]


def table_of_comparisons(found: list[Comparison]) -> str:
    """The table in Markdown."""
    return "\n".join([line_of(HEADER), "|" + "---|" * len(HEADER), *(row.line for row in found)]) + "\n"


def missed(found: list[Comparison]) -> list[str]:
    """List the wanted values that are missed."""
    return [f"{row.task}, {row.system}: {goal.text}" for row in found for goal in row.goals if not goal.met]


def compare(row: DictConfig, runs: list[Kept]) -> Comparison:
    """Compare one row with its runs; without runs every wanted value is missed."""
    paper = "" if "paper" not in row else f"{row.paper:.2f} ± {row.spread:.2f}"
    goals = [goal_of(wanted, runs) for wanted in row.get("wanted", [])]
    if not runs:
        return Comparison(row.task, row.system, paper, "", "", "", "", "not run", goals)
    found = summary(runs)
    end = of_episodes(runs, SUCCESS, found.end)
    last = of_episodes(runs, LAST, found.last)
    verdict = "" if "paper" not in row else verdict_of(end, row, found)
    shown = [
        "" if math.isnan(part[0]) else estimate(part, 2 if part[1] < part[2] else found.seeds) for part in (end, last)
    ]
    steps = lengths(*found.steps) + (" so far" if found.unfinished else "")
    return Comparison(row.task, row.system, paper, *shown, str(found.seeds), steps, verdict, goals)


def of_episodes(runs: list[Kept], metric: str, found: tuple[float, float, float]) -> tuple[float, float, float]:
    """The estimate over seeds; of a single seed with Wilson's interval over the episodes, if their number is known."""
    episodes = runs[0].table.get("eval/episodes")
    if len(runs) > 1 or not episodes or math.isnan(found[0]):
        return found
    count = round(episodes[-1][1])
    return found[0], *success_interval(round(found[0] * count), count)


def verdict_of(end: tuple[float, float, float], row: DictConfig, found: Summary) -> str:
    """Compare the interval at the end with the paper's value and its spread."""
    _, low, high = end
    above, below = low > row.paper + row.spread, high < row.paper - row.spread
    verdict = "better" if above else "worse" if below else "matches"
    fewer = below and found.steps[1] < 0.9 * row.of
    return f"{verdict} (paper: {thousands(row.of)} steps)" if fewer else verdict


def goal_of(wanted: DictConfig, runs: list[Kept]) -> Goal:
    """Check a wanted value: at the end over seeds, or at an early evaluation of each seed."""
    metric, within = LAST if wanted.get("metric") == "last" else SUCCESS, wanted.get("within", math.inf)
    seeds = wanted.get("seeds", 1)
    of_seeds = wanted.get("of_seeds", seeds)
    where = "at the last step " if metric == LAST else ""
    limit = f" within {thousands(within)}" if within < math.inf else ""
    number = f", {of_seeds} of {seeds} seeds" if of_seeds < seeds else f", {seeds} seeds" if seeds > 1 else ""
    if "end" in wanted:
        ends = np.array([run.end(metric, within) for run in runs])
        met = len(runs) >= seeds and bool(iqm_of_seeds(ends).value >= wanted.end)
        return Goal(f"{where}{wanted.end} at the end{limit}{number}", met)
    there = sum(run.first(wanted.first, metric) <= within for run in runs)
    return Goal(f"{where}{wanted.first}{limit}{number}", len(runs) >= seeds and there >= of_seeds)
