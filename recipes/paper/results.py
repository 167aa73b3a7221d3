"""Add runs to the documentation's results, and redraw the tables and pictures that contain them.

    python recipes/paper/results.py outputs/paper           # a folder of runs, finished or not
    python recipes/paper/results.py outputs/results/data    # or of kept runs
    python recipes/paper/results.py                         # draw everything again

Then look at what changed, and commit it. A run that is shorter than the one that is there is left out.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from check import configuration
from data import Record, keep, place_of
from jobs import ENTRIES
from omegaconf import DictConfig, OmegaConf
from page import draw_page
from pictures import draw_entry

from torchrl_htrpo.records.tables import read_table

PAGE = Path(__file__).parents[2] / "docs" / "results"


def main() -> None:
    """Add a folder of runs, and draw."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="?", type=Path, help="folder of runs, or of kept runs")
    parser.add_argument("--commit", help="of kept runs that have no record")
    parser.add_argument("--results", type=Path, default=PAGE, help="folder of the page")
    given = parser.parse_args()
    if given.runs is not None and not given.runs.is_dir():
        parser.error(f"runs must be a folder, got {given.runs}")
    changed = None if given.runs is None else set(add_runs(given.runs, given.results / "data", given.commit))
    cfg = configuration()
    for entry in entries_with(changed):
        print(draw_entry(cfg, entry, given.results), flush=True)
    draw_page(cfg, given.results)


def add_runs(runs: Path, data: Path, commit: str | None = None) -> Iterator[tuple[str, str]]:
    """Keep every run below a folder; yield (task, system) of each."""
    for source in sorted([*runs.glob("*/*/seed_*/metrics.csv"), *runs.glob("*/*/seed_*.csv")]):
        place = source.parent if source.name == "metrics.csv" else source
        task, system, seed = place.parts[-3:]
        target = place_of(data, task, system, int(re.findall(r"\d+", seed)[0]))
        if target.exists() and steps_of(target) > steps_of(source):
            print(f"left out: {source} ends at {steps_of(source)} steps, {target} at {steps_of(target)}")
            continue
        keep(source, target, record_of(source, commit))
        yield task, system


def record_of(source: Path, commit: str | None) -> Record | None:
    """The record of a run or of a kept run; None if there is none."""
    if source.name == "metrics.csv":
        return Record.of_run(source.parent)
    if source.with_suffix(".json").exists():
        return Record.read(source.with_suffix(".json"))
    return Record(commits=[commit]) if commit else None


def steps_of(file: Path) -> int:
    """The last step of a table."""
    return max(step for entries in read_table(file).values() for step, _ in entries)


def entries_with(changed: set[tuple[str, str]] | None) -> Iterator[DictConfig]:
    """The entries that hold one of these runs, or all."""
    for file in sorted(ENTRIES.glob("*.yaml")):
        entry = OmegaConf.load(file)
        rows = {(task, system) for task, systems in entry.runs.items() for system in systems}
        if changed is None or rows & changed:
            yield entry


if __name__ == "__main__":
    main()
