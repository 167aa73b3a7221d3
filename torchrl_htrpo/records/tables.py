"""Read and write the metrics of a run as tables."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from torchrl import torchrl_logger

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.records.disk import replace_file

Table = dict[str, list[tuple[int, float]]]


def check_name(name: str, argument: str = "name") -> None:
    """Raise a ValueError if the name of a metric, such as ``eval/success``, leaves the folder of metrics."""
    if not isinstance(name, str):
        raise TypeError(refusal("Run", argument, "a text", name))
    if any(not part or part.startswith(".") for part in name.replace("\\", "/.").split("/")):
        expected = "of parts joined by '/', none empty, none beginning with '.', without '\\'"
        raise ValueError(refusal("Run", argument, expected, name))


def read_scalars(directory: Path) -> Table:
    """Read the files of TorchRL's CSV logger: one per metric, with lines ``step,value``.

    Args:
        directory: the logger's ``scalars`` folder. Hidden files, links and files of another form are left out.

    Returns:
        For each metric its steps and values, in the order written.
    """
    return {name: [(step, value) for step, value, _ in rows] for name, (_, rows) in _scalar_files(directory).items()}


def forget_after(directory: Path, step: int) -> None:
    """Drop entries of TorchRL's CSV logger after a step, so that a resumed run has every row once."""
    for path, rows in _scalar_files(directory).values():
        replace_file(path, "".join(line for at, _, line in rows if at <= step).encode())


def _scalar_files(directory: Path) -> dict[str, tuple[Path, list[tuple[int, float, str]]]]:
    found = {}
    for path in sorted(directory.rglob("*.csv")):
        inner = path.relative_to(directory)
        if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in inner.parts):
            continue
        try:
            found[inner.with_suffix("").as_posix()] = path, _rows(path)
        except ValueError:  # includes UnicodeDecodeError
            torchrl_logger.warning(f"Run: {path} is not a file of metrics; it is skipped")
    return found


def _rows(path: Path) -> list[tuple[int, float, str]]:
    """Read steps, values and lines of a file, without an incomplete last line."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    cells = [line.rstrip("\n").split(",") for line in lines]
    return [(int(step), float(value), line) for (step, value), line in zip(cells, lines, strict=True)]


def write_table(table: Table, path: Path) -> Path:
    """Write metrics as one wide CSV: a row per step, a column per metric, empty cells for missing values.

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
    return replace_file(path, out.getvalue().encode())


def read_table(path: Path) -> Table:
    """Read a file that :func:`write_table` wrote."""
    table: Table = defaultdict(list)
    with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value:
                    table[name].append((step, float(value)))
    return dict(table)
