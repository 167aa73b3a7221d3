"""Draw the results: one picture and one table row per folder of ``data/``, from the CSV files in it.

    python docs/results/draw.py

Each folder holds ``seed_<s>.csv``, the ``metrics.csv`` of one run. The curve is the mean over seeds with a 95 %
bootstrap interval (scipy); a step counts as reached at the first evaluation at or above a threshold. Runs on ordinary
tasks have no success: their curve and row are the return while exploring.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import bootstrap

from torchrl_htrpo import read_table
from torchrl_htrpo.evaluation.metrics import Table

HERE = Path(__file__).parent
THRESHOLDS = (0.5, 0.9, 0.95, 1.0)


def steps_to(table: Table, threshold: float) -> float:
    """Environment steps at the first evaluation at or above a threshold, in thousands (infinite if none)."""
    return next((step / 1000 for step, value in table["eval/success"] if value >= threshold), float("inf"))


def metric_of(table: Table) -> str:
    """What a run is judged by."""
    return "eval/success" if "eval/success" in table else "train/episode_return"


def on_grid(tables: list[Table]) -> tuple[np.ndarray, np.ndarray]:
    """The metric of every run ``[seeds, points]`` on a common grid of steps; an ended run keeps its last value."""
    metric = metric_of(tables[0])
    grid = np.linspace(0, max(table[metric][-1][0] for table in tables), 100)
    curves = [np.interp(grid, *zip(*table[metric], strict=True)) for table in tables]
    return grid, np.stack(curves)


def draw(tables: list[Table], title: str, path: Path) -> None:
    """Mean and bootstrap interval over seeds, and each run thinly."""
    grid, curves = on_grid(tables)
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(grid / 1000, curves.T, color="tab:blue", lw=0.6, alpha=0.5)
    axes.plot(grid / 1000, curves.mean(0), color="tab:blue", label=f"mean of {len(tables)} seed(s)")
    if len(tables) > 1:
        many = bootstrap((curves,), np.mean, axis=0, n_resamples=2000, method="percentile", rng=0)
        low, high = many.confidence_interval
        axes.fill_between(grid / 1000, low, high, color="tab:blue", alpha=0.2, label="95 % bootstrap")
    axes.set(xlabel="environment steps [thousand]", ylabel=metric_of(tables[0]), title=title)
    if metric_of(tables[0]) == "eval/success":
        axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)


def seconds_to(table: Table, threshold: float) -> float:
    """Seconds of all phases up to the first evaluation at or above a threshold (all of them if none is)."""
    reached = 1000 * steps_to(table, threshold)
    phases = (entries for name, entries in table.items() if name.startswith("time/"))
    return sum(seconds for entries in phases for step, seconds in entries if step <= reached)


def returns(name: str, tables: list[Table], near: tuple[int, ...] = (100_000, 200_000, 290_000)) -> str:
    """The row of a folder without successes: mean return of the exploring episodes within 10 k steps of each point."""
    entries = [entry for table in tables for entry in table[metric_of(table)]]
    means = [np.mean([value for step, value in entries if abs(step - point) < 10_000]) for point in near]
    return f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} |"


def row(name: str, tables: list[Table]) -> str:
    """The table row of a folder: steps to each threshold (seeds in order), the last evaluation, seconds to 0.9."""
    cells = [", ".join(f"{steps_to(table, threshold):.3g}" for table in tables) for threshold in THRESHOLDS]
    last = ", ".join(f"{table['eval/success'][-1][1]:.3f}" for table in tables)
    seconds = ", ".join(f"{seconds_to(table, 0.9):.0f}" for table in tables)
    return f"| {name} | {' | '.join(cells)} | {last} | {seconds} |"


def main() -> None:
    """Draw every folder, print every row."""
    print("| run | " + " | ".join(f"{threshold:g}" for threshold in THRESHOLDS) + " | last | seconds to 0.9 |")
    print("|" + "---|" * (len(THRESHOLDS) + 3))
    for folder in sorted(HERE.glob("data/*")):
        tables = [read_table(path) for path in sorted(folder.glob("seed_*.csv"))]
        draw(tables, folder.name, HERE / f"{folder.name}.png")
        print((row if metric_of(tables[0]) == "eval/success" else returns)(folder.name, tables))


if __name__ == "__main__":
    main()
