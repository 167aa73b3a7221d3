"""Compare the learning curves of two groups of runs over seeds, such as runs with and without budgets of rows.

Each run is judged by its mean success over the environment steps that all runs of both groups cover (the area under its
learning curve; a run that ended at its target keeps its last value), and by the first evaluation at 0.95 or more. The
groups are compared with the Mann-Whitney U test (exact, two-sided) and a bootstrap interval of the difference of means.

    python benchmarks/compare_budgets.py benchmarks/budgets/bits_16/exact benchmarks/budgets/bits_16/budgeted

A group is a folder of ``seed_<s>.csv``, the ``metrics.csv`` of a run each. Output: ``FIGURE name value``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu

from torchrl_htrpo.records import read_table

SUCCESS, POINTS = "eval/success", 200
Curve = list[tuple[int, float]]


def main() -> None:
    """Print the results of each group and their difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", type=Path, nargs=2)
    args = parser.parse_args()
    groups = {folder.name: curves(folder) for folder in args.groups}
    last = min(max(curve[-1][0] for curve in group) for group in groups.values())
    areas = {name: np.array([area(curve, last) for curve in group]) for name, group in groups.items()}
    for name, group in groups.items():
        each, reached = ", ".join(map(short, areas[name])), ", ".join(str(first(curve)) for curve in group)
        say(f"FIGURE {name}_seeds {len(group)}")
        say(f"FIGURE {name}_mean_success_to_{last} {areas[name].mean():.3f} (each: {each})")
        say(f"FIGURE {name}_first_at_0.95 {reached}")
    one, other = areas.values()
    low, high = bootstrap((one, other), difference, vectorized=True, rng=0, method="percentile").confidence_interval
    say(f"FIGURE difference_of_means {difference(one, other):.3f} (95 % interval {low:.3f} to {high:.3f})")
    say(f"FIGURE mann_whitney_p {mannwhitneyu(one, other, method='exact').pvalue:.3f}")


def curves(folder: Path) -> list[Curve]:
    """The success of each seed of a group."""
    return [read_table(file)[SUCCESS] for file in sorted(folder.glob("seed_*.csv"))]


def area(curve: Curve, last: int) -> float:
    """Mean success from the first step to ``last``; 0 before the first evaluation."""
    steps, success = zip((0, 0.0), *curve, strict=True)
    return float(np.interp(np.linspace(0, last, POINTS), steps, success).mean())


def first(curve: Curve, success: float = 0.95) -> int | None:
    """Steps of the first evaluation with at least a success rate."""
    return next((step for step, value in curve if value >= success), None)


def difference(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    """Difference of the means."""
    return one.mean(axis=axis) - other.mean(axis=axis)


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.3f}"


def say(line: str) -> None:
    """A line of output."""
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
