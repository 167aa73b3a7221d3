"""Crash a small run before each operation on its files, resume it, and compare it with an uninterrupted run.

    python benchmarks/soak_crashes.py --points 300
    python benchmarks/soak_crashes.py --points 300 --part 1/4  # every fourth of these

Compared bit for bit: every file of the last checkpoint but the seconds, and every row of ``metrics.csv``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.records.crash_points import count_operations, crash_and_go_on, end_of, leftovers


def main() -> None:
    """Crash, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=300, help="at most; spread over all operations")
    parser.add_argument("--part", default="1/1", help="which of how many parts, 2/4")
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    folder, since = Path(tempfile.mkdtemp()), time.monotonic()
    total = count_operations(folder / "whole")
    expected, points = end_of(folder / "whole"), min(args.points, total)
    crashed = same = 0
    chosen = range(part - 1, points, parts)
    for index in chosen:
        operation = index * (total - 1) // max(points - 1, 1)
        crashed += crash_and_go_on(folder / "run", operation)
        same += end_of(folder / "run") == expected and not leftovers(folder / "run")
        shutil.rmtree(folder / "run")
    shutil.rmtree(folder)
    seconds = time.monotonic() - since
    print(f"RESULT operations={total} points={len(chosen)} crashed={crashed} same={same} seconds={seconds:.0f}")


if __name__ == "__main__":
    main()
