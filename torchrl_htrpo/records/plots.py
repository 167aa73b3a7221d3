"""The picture of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torchrl_htrpo.records.tables import Table


class Panel(NamedTuple):
    """One panel of the picture: which metrics, with which label."""

    ylabel: str
    lines: dict[str, str]
    share: bool = False


PANELS = (
    Panel(
        "success rate",
        {"eval/success": "at any step", "eval/success_last": "at the last step", "train/success": "exploring"},
        share=True,
    ),
    Panel("return", {"train/episode_return": "exploring"}),
    Panel("divergence of a step [nats]", {"step/divergence": "after the step", "step/radius": "radius"}),
    Panel("effective sample size [rows]", {"hindsight/ess": "hindsight rows"}),
    Panel("entropy of the policy [nats]", {"train/entropy": "of the collected actions"}),
)


def plot_run(table: Table, path: Path, title: str = "") -> Path:
    """Plot a run over environment steps: success with its interval, step and radius, sample size, entropy.

    Args:
        table: metrics, as :func:`~torchrl_htrpo.records.read_scalars` reads them. A panel without metrics is left out.
        path: the picture (its suffix tells the format).
        title: above the picture.

    Returns:
        The picture's file.

    Example:
        >>> import tempfile
        >>> plot_run({"eval/success": [(100, 0.1), (300, 0.9)]}, Path(tempfile.mkdtemp()) / "curve.png").name
        'curve.png'
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second to import

    shown = [panel for panel in PANELS if any(name in table for name in panel.lines)]
    columns = 2 if len(shown) > 1 else 1
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    figure.suptitle(title)
    for place, panel in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw(axes, table, panel)
    draft = path.with_name(f".{path.name}")  # replace the plot atomically
    figure.savefig(draft, dpi=120)
    return draft.replace(path)


def _draw(axes: Any, table: Table, panel: Panel) -> None:
    for name, label in panel.lines.items():
        if name in table and (label != "radius" or any(radius for _, radius in table[name])):  # 0: there is none
            axes.plot(*_columns(table, name), label=label, ls="--" if label == "radius" else "-")
        if f"{name}_low" in table:
            steps, low = _columns(table, f"{name}_low")
            axes.fill_between(steps, low, _columns(table, f"{name}_high")[1], alpha=0.2, label="95 % interval")
    axes.set(xlabel="environment steps", ylabel=panel.ylabel, **({"ylim": (-0.02, 1.02)} if panel.share else {}))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")


def _columns(table: Table, name: str) -> tuple[list[int], list[float]]:
    steps, values = zip(*table[name], strict=True)
    return list(steps), list(values)
