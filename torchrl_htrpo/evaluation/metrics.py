"""The metrics of a run as one table."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

Table = dict[str, list[tuple[int, float]]]


def read_scalars(directory: Path) -> Table:
    """Read what TorchRL's CSV logger wrote: one file per metric, one line ``step,value`` per entry.

    Args:
        directory: the logger's ``scalars`` folder.

    Returns:
        For each metric its steps and values, in the order written.
    """
    table: Table = {}
    for path in sorted(directory.rglob("*.csv")):
        name = path.relative_to(directory).with_suffix("").as_posix()
        with path.open(newline="") as lines:
            table[name] = [(int(step), float(value)) for step, value in csv.reader(lines)]
    return table


def forget_after(directory: Path, step: int) -> None:
    """Drop what TorchRL's CSV logger wrote after a step, so that a resumed run has every row once.

    Args:
        directory: the logger's ``scalars`` folder.
        step: the last step to keep.
    """
    for path in directory.rglob("*.csv"):
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and int(line.partition(",")[0]) <= step]
        replace_text(path, "".join(kept))


def replace_text(path: Path, text: str) -> Path:
    """Write a file that a kill leaves either as it was or complete."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text)
    return draft.replace(path)


def write_table(table: Table, path: Path) -> Path:
    """Write metrics as one wide CSV: a row per step, a column per metric, empty where there is none.

    Args:
        table: metrics, as :func:`read_scalars` gives them.
        path: the file.

    Returns:
        The file.

    Example:
        >>> import tempfile
        >>> file = write_table({"a": [(1, 0.5)], "b": [(1, 2.0), (2, 3.0)]}, Path(tempfile.mkdtemp()) / "metrics.csv")
        >>> file.read_text().splitlines()
        ['step,a,b', '1,0.5,2.0', '2,,3.0']
    """
    rows: dict[int, dict[str, float]] = defaultdict(dict)
    for name, entries in table.items():
        for step, value in entries:
            rows[step][name] = value
    out = io.StringIO()
    writer = csv.DictWriter(out, ["step", *table], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step, **rows[step]} for step in sorted(rows))
    return replace_text(path, out.getvalue())


def read_table(path: Path) -> Table:
    """Read a file of :func:`write_table`."""
    table: Table = defaultdict(list)
    with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value:
                    table[name].append((step, float(value)))
    return dict(table)
