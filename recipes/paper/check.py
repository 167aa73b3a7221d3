"""Compare the committed runs with the paper; exit with 1 if a wanted value is missed.

    python recipes/paper/check.py
    python recipes/paper/check.py outputs/results/data

Paper values and wanted values are in ``config/paper.yaml``. A wanted value of a task that was not run is missed.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from verdicts import comparisons, missed, table_of_comparisons

COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "data"


def configuration(*overrides: str) -> DictConfig:
    """The configuration of ``reproduce.py``."""
    with initialize_config_dir(str(Path(__file__).parent / "config"), version_base="1.3"):
        return compose("reproduce", list(overrides))


def main() -> int:
    """Compare; return the exit code."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=COMMITTED, help="folder of kept runs")
    found = comparisons(configuration(), parser.parse_args().data)
    print(table_of_comparisons(found))
    for line in (lines := missed(found)):
        print(f"missed: {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
