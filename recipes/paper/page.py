"""The parts of the results page that span entries: the first picture, the comparison, the statistics over tasks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from data import LAST, SUCCESS, kept_runs
from jobs import ENTRIES
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from pictures import band, panels
from stats import improvement, iqm_of_tasks, profile
from tables import estimate, line_of, mark, reached, summary
from verdicts import comparisons, missed, table_of_comparisons

from torchrl_htrpo.records.disk import replace_file

FRONT = ("task", "seeds", "first at 0.9", "at the end", "at the last step", "paper")
README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"(<!-- results: .*? -->\n).*?(<!-- end of results -->)", re.DOTALL)


def draw_page(cfg: DictConfig, results: Path, readme: Path = README) -> None:
    """Write every table and picture of the page that is not of one entry, and the table of the README."""
    for name, text in tables(cfg, results / "data").items():
        replace_file(results / "tables" / f"{name}.md", text.encode())
    draw_overview(cfg, results)
    for entry in aggregates():
        draw_profile(entry, results)
    if readme.exists() and results == readme.parent / "docs" / "results":
        replace_file(readme, with_front(readme.read_text(), cfg, results / "data").encode())


def tables(cfg: DictConfig, data: Path) -> dict[str, str]:
    """Every table that is not of one entry, by name."""
    found = comparisons(cfg, data)
    ours = [row for row in found if row.system.startswith("HTRPO")]
    wanted = [line_of(("missed so far", "")), "|---|---|", *(line_of(line.split(": ", 1)) for line in missed(found))]
    over_tasks = {f"{entry.name}_over_tasks": table_over_tasks(entry, data) for entry in aggregates()}
    return {
        "paper": table_of_comparisons(ours),
        "systems": table_of_comparisons([row for row in found if row not in ours]),
        "wanted": "\n".join(wanted) + "\n",
        "front": front(cfg, data),
        **over_tasks,
    }


def front(cfg: DictConfig, data: Path) -> str:
    """The short table of the README and of the first page of the documentation."""
    lines, older = [line_of(FRONT), "|" + "---|" * len(FRONT)], False
    for row in cfg.front:
        task, system = row.data.split("/")
        if not (runs := kept_runs(data, task, system)):
            continue
        found = summary(runs)
        older = older or mark(cfg, task) != task
        name = row.task + (" †" if mark(cfg, task) != task else "")
        ends = (estimate(found.end, found.seeds), estimate(found.last, found.seeds))
        lines.append(line_of((name, found.seeds, reached(found.to_most), *ends, row.get("paper", ""))))
    note = ["", "† An older recipe."] if older else []
    return "\n".join([*lines, *note]) + "\n"


def with_front(text: str, cfg: DictConfig, data: Path) -> str:
    """The text of the README with its table written anew."""
    return BLOCK.sub(lambda found: found[1] + front(cfg, data) + found[2], text)


def draw_overview(cfg: DictConfig, results: Path) -> None:
    """A panel per task of the paper, a curve per system, a dashed line for what the paper reports of HTRPO."""
    tasks = list(dict.fromkeys(row.task for row in cfg.rows))
    systems = list(dict.fromkeys(row.system for row in cfg.rows))
    figure, axes = panels(len(tasks), columns=4)
    for panel, task in zip(axes, tasks, strict=True):
        for row in (row for row in cfg.rows if row.task == task):
            if runs := kept_runs(results / "data", *row.data.split("/")):
                band(panel, runs, SUCCESS, f"{row.system} ({len(runs)})", systems.index(row.system))
            if row.system == "HTRPO" and "paper" in row:
                panel.axhline(row.paper, color="black", lw=0.8, ls=":")
        if not panel.get_legend_handles_labels()[0]:
            panel.text(0.5, 0.5, "not run", ha="center", transform=panel.transAxes)
        else:
            panel.legend(fontsize=6)
        panel.set(title=task, xlabel="environment steps [thousand]", ylabel="success", ylim=(-0.02, 1.02))
        panel.grid(alpha=0.3)
    figure.savefig(results / "overview.png", dpi=90)


def aggregates() -> list[DictConfig]:
    """The entries whose systems were all run on several tasks, as they say."""
    entries = [OmegaConf.load(file) for file in sorted(ENTRIES.glob("*.yaml"))]
    return [entry for entry in entries if "over_tasks" in entry]


def scores(entry: DictConfig, data: Path, metric: str = SUCCESS) -> dict[str, np.ndarray]:
    """Success at the end ``[seeds, tasks]`` of each system, the first seeds that all have."""
    kept = {
        system: [kept_runs(data, task, system) for task in entry.over_tasks.tasks]
        for system in entry.over_tasks.systems
    }
    seeds = min(len(runs) for tasks in kept.values() for runs in tasks)
    return {
        system: np.array([[run.end(metric) for run in runs[:seeds]] for runs in tasks]).T
        for system, tasks in kept.items()
    }


def table_over_tasks(entry: DictConfig, data: Path) -> str:
    """Interquartile mean over tasks, and the probability that a run of the first system is better."""
    found, lasts = scores(entry, data), scores(entry, data, LAST)
    first, *_ = found
    header = ("system", "any step, IQM [95 %]", "last step, IQM [95 %]", f"probability that {first} is better [95 %]")
    lines = [line_of(header), "|" + "---|" * len(header)]
    for system, ends in found.items():
        cells = [iqm_of_tasks(ends), iqm_of_tasks(lasts[system])]
        cells += [improvement(found[first], ends)] if system != first else []
        shown = [estimate(tuple(float(part[0]) for part in cell), 2) for cell in cells]
        lines.append(line_of((system, *shown, *[""] * (3 - len(shown)))))
    seeds, tasks = found[first].shape
    note = f"{tasks} tasks ({', '.join(entry.over_tasks.tasks)}), {seeds} seeds each; success at the end."
    return "\n".join([*lines, "", note]) + "\n"


def draw_profile(entry: DictConfig, results: Path) -> None:
    """Share of runs above each success, of every system."""
    figure = Figure(figsize=(5.2, 3.1), layout="constrained")
    panel, thresholds = figure.subplots(), np.linspace(0, 1, 101)
    for place, (system, ends) in enumerate(scores(entry, results / "data").items()):
        found = profile(ends, thresholds)
        panel.step(thresholds, found.value, color=f"C{place}", where="post", label=system)
        panel.fill_between(thresholds, found.low, found.high, color=f"C{place}", alpha=0.15, lw=0, step="post")
    panel.set(xlabel="success at the end", ylabel="share of runs above", ylim=(-0.02, 1.02))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    figure.savefig(results / f"{entry.name}_profile.png", dpi=100)
