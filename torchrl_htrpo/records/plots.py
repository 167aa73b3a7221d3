"""Plots of learning curves."""

from __future__ import annotations

from pathlib import Path

from torchrl_htrpo.records.tables import Table


def plot_learning_curve(table: Table, path: Path, title: str = "", metric: str = "eval/success") -> Path:
    """Plot a metric of a run over environment steps, with its interval and its training counterpart if logged.

    Args:
        table: metrics with ``metric``, perhaps ``<metric>_low`` and ``<metric>_high``, perhaps ``train/...`` for
            ``eval/...``.
        path: the picture (its suffix tells the format).
        title: above the picture.
        metric: what to draw.

    Returns:
        The picture's file.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second to import

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    steps, values = _columns(table, metric)
    axes.plot(steps, values, label=metric)
    if f"{metric}_low" in table:
        low, high = (_columns(table, f"{metric}_{end}")[1] for end in ("low", "high"))
        axes.fill_between(steps, low, high, alpha=0.2, label="95 % interval")
    exploring = metric.replace("eval/", "train/")
    if exploring != metric and exploring in table:
        axes.plot(*_columns(table, exploring), lw=0.8, alpha=0.7, label=exploring)
    axes.set(xlabel="environment steps", title=title)
    if metric.endswith("success"):
        axes.set(ylabel="success rate", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    draft = path.with_name(f".{path.name}")  # replace the plot atomically
    figure.savefig(draft, dpi=150)
    return draft.replace(path)


def _columns(table: Table, name: str) -> tuple[list[int], list[float]]:
    steps, values = zip(*table[name], strict=True)
    return list(steps), list(values)
