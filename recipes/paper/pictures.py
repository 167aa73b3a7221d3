"""The figure and the table of an entry, from the kept runs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from data import RETURN, SUCCESS, interval, metric_of, on_grid, seeds_of, summary
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import DictConfig

from torchrl_htrpo.records.tables import Table

Runs = dict[str, dict[str, list[Table]]]


def runs_of(cfg: DictConfig, data: Path) -> Runs:
    """The kept runs of an entry, by task and system; those not run are left out."""
    found = {task: {system: seeds_of(data, task, system) for system in systems} for task, systems in cfg.runs.items()}
    some = {task: {system: runs for system, runs in systems.items() if runs} for task, systems in found.items()}
    return {task: systems for task, systems in some.items() if systems}


def draw(cfg: DictConfig, runs: Runs, path: Path) -> None:
    """Draw an entry as its ``kind`` says."""
    {"curves": draw_curves, "sizes": draw_sizes, "metrics": draw_metrics}[cfg.kind](cfg, runs, path)


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """So many panels, three in a row at most."""
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(4.3 * columns, 3.1 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, axes[:count]


def draw_curves(cfg: DictConfig, runs: Runs, path: Path) -> None:
    """A panel per task, a curve per system: mean and bootstrap interval over seeds."""
    figure, axes = panels(len(runs))
    names = list(dict.fromkeys(system for systems in cfg.runs.values() for system in systems))
    for panel, (task, systems) in zip(axes, runs.items(), strict=True):
        for system, tables in systems.items():
            band(panel, tables, metric_of(tables[0]), f"{system} ({len(tables)})", names.index(system))
        dress(panel, task, metric_of(next(iter(systems.values()))[0]))
    figure.savefig(path, dpi=100)


def draw_metrics(cfg: DictConfig, runs: Runs, path: Path) -> None:
    """A panel per task, system and group of metrics; a curve per metric."""
    rows = [(task, system, group) for task, systems in runs.items() for system in systems for group in cfg.metrics]
    figure, axes = panels(len(rows))
    for panel, (task, system, group) in zip(axes, rows, strict=True):
        tables = runs[task][system]
        for place, metric in enumerate(name for name in cfg.metrics[group] if name in tables[0]):
            band(panel, tables, metric, f"{metric} ({len(tables)})", place)
        dress(panel, f"{task}: {system}", group)
    figure.savefig(path, dpi=100)


def band(panel: Axes, tables: list[Table], metric: str, label: str, place: int) -> None:
    """The mean of a metric over seeds, with its interval."""
    grid, values = on_grid(tables, metric)
    colour = f"C{place % 10}"
    panel.plot(grid / 1000, values.mean(0), color=colour, lw=1.4, ls="-" if place < 10 else "--", label=label)
    panel.fill_between(grid / 1000, *interval(values), color=colour, alpha=0.15, lw=0)


def dress(panel: Axes, title: str, metric: str) -> None:
    """Labels of a panel."""
    panel.set(xlabel="environment steps [thousand]", ylabel=metric, title=title)
    if metric == SUCCESS:
        panel.set_ylim(-0.02, 1.02)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)


def draw_sizes(cfg: DictConfig, runs: Runs, path: Path) -> None:
    """Success at the end, and steps to 0.9, against the number in the tasks' names."""
    figure, (end, way) = panels(2)
    systems = list(dict.fromkeys(system for found in runs.values() for system in found))
    for place, system in enumerate(systems):
        some = {int(re.search(r"\d+", task)[0]): found[system] for task, found in runs.items() if system in found}
        ends = {size: summary(tables) for size, tables in some.items()}
        sizes = np.array(sorted(some))
        means, low, high = (np.array([getattr(ends[size], key) for size in sizes]) for key in ("mean", "low", "high"))
        label = f"{system} ({min(len(tables) for tables in some.values())} seeds or more)"
        end.errorbar(sizes, means, (means - low, high - means), marker="o", capsize=2, label=label, color=f"C{place}")
        steps = [(size, step / 1000) for size in sizes for step in ends[size].to_most if math.isfinite(step)]
        if steps:
            way.plot(*zip(*steps, strict=True), "o", alpha=0.6, label=label, color=f"C{place}")
    for panel, label in ((end, "success at the end"), (way, "first at 0.9 [thousand steps]")):
        panel.set(xlabel=cfg.size, ylabel=label)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    end.set_ylim(-0.02, 1.02)
    way.set_ylim(bottom=0)
    figure.savefig(path, dpi=100)


HEADER = "| task | system | seeds | steps | at the end [95 %] | IQM | first at 0.5 | first at 0.9 | minutes | paper |"


def table_of(cfg: DictConfig, runs: Runs) -> str:
    """The table of an entry in Markdown; a row of the paper that was not run says so."""
    lines = [HEADER, "|" + "---|" * HEADER.count(" | ") + "---|"]
    for task, systems in cfg.runs.items():
        for system in systems:
            paper = str((cfg.get("paper") or {}).get(task, {}).get(system, ""))
            if system in runs.get(task, {}):
                lines.append(row(task, system, runs[task][system], paper))
            elif paper:
                lines.append(f"| {task} | {system} | not run | | | | | | | {paper} |")
    return "\n".join(lines) + "\n"


def row(task: str, system: str, tables: list[Table], paper: str) -> str:
    """One system on one task."""
    found = summary(tables)
    digits = 1 if metric_of(tables[0]) == RETURN else 3
    spread = f" [{found.low:.{digits}f}, {found.high:.{digits}f}]" if found.seeds > 1 else ""
    end = f"{found.mean:.{digits}f}{spread}"
    way = ("", "") if metric_of(tables[0]) == RETURN else (reached(found.to_half), reached(found.to_most))
    cells = [task, system, found.seeds, lengths(*found.steps), end, f"{found.iqm:.{digits}f}", *way]
    minutes = f"{found.seconds / 60:.1f}" if found.seconds else ""
    return "| " + " | ".join(map(str, [*cells, minutes, paper])) + " |"


def reached(steps: list[float]) -> str:
    """When each seed came there, in thousand steps; a dash for one that did not."""
    return ", ".join(thousands(step) if math.isfinite(step) else "-" for step in steps)


def lengths(shortest: float, longest: float) -> str:
    """How long the runs were, where they ended at different steps from the shortest to the longest."""
    low, high = thousands(shortest), thousands(longest)
    return high if low == high else f"{low.removesuffix(' k')} to {high}"


def thousands(steps: float) -> str:
    """Steps in thousands, to three digits."""
    return f"{float(f'{steps / 1000:.3g}'):g} k"
