"""The figures, from the kept runs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from data import SUCCESS, Kept, on_grid
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import DictConfig
from stats import iqm_of_seeds
from tables import Runs, runs_of, summary, table_of

from torchrl_htrpo.records.disk import replace_file


def draw_entry(cfg: DictConfig, entry: DictConfig, results: Path) -> str:
    """Write picture and table of an entry; one line says where they are."""
    runs = runs_of(entry, results / "data")
    if not runs:
        return f"{entry.name}: nothing was run yet"
    draw(entry, runs, results / f"{entry.name}.png")
    (results / "tables").mkdir(exist_ok=True)
    replace_file(results / "tables" / f"{entry.name}.md", table_of(cfg, entry, runs).encode())
    return f"{entry.name}.png and tables/{entry.name}.md are in {results}"


def draw(entry: DictConfig, runs: Runs, path: Path) -> None:
    """Draw an entry as its ``kind`` says."""
    {"curves": draw_curves, "sizes": draw_sizes, "metrics": draw_metrics}[entry.kind](entry, runs, path)


def panels(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Create ``count`` panels, at most ``columns`` in a row."""
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(4.3 * columns, 3.1 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, axes[:count]


def draw_curves(entry: DictConfig, runs: Runs, path: Path) -> None:
    """A panel per task, a curve per system: interquartile mean and bootstrap interval over seeds."""
    figure, axes = panels(len(runs))
    names = list(dict.fromkeys(system for systems in entry.runs.values() for system in systems))
    for panel, (task, systems) in zip(axes, runs.items(), strict=True):
        for system, found in systems.items():
            band(panel, found, found[0].metric, f"{system} ({len(found)})", names.index(system))
        dress(panel, task, next(iter(systems.values()))[0].metric)
    figure.savefig(path, dpi=100)


def draw_metrics(entry: DictConfig, runs: Runs, path: Path) -> None:
    """A panel per task, system and group of metrics; a curve per metric."""
    rows = [(task, system, group) for task, systems in runs.items() for system in systems for group in entry.metrics]
    figure, axes = panels(len(rows))
    for panel, (task, system, group) in zip(axes, rows, strict=True):
        found = runs[task][system]
        for place, metric in enumerate(name for name in entry.metrics[group] if name in found[0].table):
            band(panel, found, metric, f"{metric} ({len(found)})", place)
        dress(panel, f"{task}: {system}", group)
    figure.savefig(path, dpi=100)


def band(panel: Axes, runs: list[Kept], metric: str, label: str, place: int) -> None:
    """The interquartile mean of a metric over seeds, with its interval."""
    grid, values = on_grid([run.table for run in runs], metric)
    found, colour = iqm_of_seeds(values, resamples=200), f"C{place % 10}"
    panel.plot(grid / 1000, found.value, color=colour, lw=1.4, ls="-" if place < 10 else "--", label=label)
    panel.fill_between(grid / 1000, found.low, found.high, color=colour, alpha=0.15, lw=0)


def dress(panel: Axes, title: str, metric: str) -> None:
    """Label a panel."""
    panel.set(xlabel="environment steps [thousand]", ylabel=metric, title=title)
    if metric == SUCCESS:
        panel.set_ylim(-0.02, 1.02)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)


def draw_sizes(entry: DictConfig, runs: Runs, path: Path) -> None:
    """Success at the end, and steps to 0.9, against the number in the tasks' names."""
    figure, (end, way) = panels(2)
    systems = list(dict.fromkeys(system for found in runs.values() for system in found))
    for place, system in enumerate(systems):
        some = {int(re.search(r"\d+", task)[0]): found[system] for task, found in runs.items() if system in found}
        sizes = np.array(sorted(some))
        ends = {size: summary(some[size]) for size in sizes}
        value, low, high = np.array([ends[size].end for size in sizes]).T
        label = f"{system} ({min(len(found) for found in some.values())} seeds or more)"
        end.errorbar(sizes, value, (value - low, high - value), marker="o", capsize=2, label=label, color=f"C{place}")
        steps = [(size, step / 1000) for size in sizes for step in ends[size].to_most if math.isfinite(step)]
        if steps:
            way.plot(*zip(*steps, strict=True), "o", alpha=0.6, label=label, color=f"C{place}")
    for panel, label in ((end, "success at the end"), (way, "first at 0.9 [thousand steps]")):
        panel.set(xlabel=entry.size, ylabel=label)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    end.set_ylim(-0.02, 1.02)
    way.set_ylim(bottom=0)
    figure.savefig(path, dpi=100)
