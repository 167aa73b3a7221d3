"""Pictures of learning."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from torchrl_htrpo.evaluation.metrics import Table


def plot_learning_curve(table: Table, path: Path, title: str = "") -> Path:
    """Draw the greedy success rate of a run against environment steps, with its 95 % interval.

    Args:
        table: metrics with ``eval/success``, ``eval/success_low``, ``eval/success_high``, perhaps ``train/success``.
        path: the picture (its suffix tells the format).
        title: above the picture.

    Returns:
        The picture's file.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    steps, success = _columns(table, "eval/success")
    _, low = _columns(table, "eval/success_low")
    _, high = _columns(table, "eval/success_high")
    axes.plot(steps, success, label="greedy, any step (95 % interval)")
    axes.fill_between(steps, low, high, alpha=0.2)
    if "train/success" in table:
        axes.plot(*_columns(table, "train/success"), lw=0.8, alpha=0.7, label="while exploring")
    axes.set(xlabel="environment steps", ylabel="success rate", ylim=(-0.02, 1.02), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
    return path


def _columns(table: Table, name: str) -> tuple[list[int], list[float]]:
    steps, values = zip(*table[name], strict=True)
    return list(steps), list(values)
