"""Test many generated batches with faults, in parts with different seeds, and report the count after each part.

    python benchmarks/soak_faults.py --parts 20 --examples 5000

Each part is the test of ``tests/test_numerical_faults.py``. Stop it whenever: what was printed was tried.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run the parts, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=20)
    parser.add_argument("--examples", type=int, default=5000, help="of each part")
    parser.add_argument("--first", type=int, default=0, help="seed of the first part")
    args = parser.parse_args()

    tried, ends, since = 0, Counter(), time.monotonic()
    for seed in range(args.first, args.first + args.parts):
        done = _part(seed, args.examples)
        assert done.returncode == 0, done.stdout[-5000:]
        passing = int(re.search(r"(\d+) passing", done.stdout)[1])
        tried += passing
        for share, name in re.findall(r"([\d.]+)%, (\w+)$", done.stdout, re.MULTILINE):
            ends[name] += float(share) * passing / 100
        said = " ".join(f"{name.lower()}={count / ends.total():.3f}" for name, count in ends.most_common())
        print(f"RESULT tried={tried} last_seed={seed} seconds={time.monotonic() - since:.0f} {said}", flush=True)


def _part(seed: int, examples: int) -> subprocess.CompletedProcess[str]:
    options = ("--timeout=0", "--hypothesis-show-statistics", "-p", "no:xdist")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "tests/test_numerical_faults.py"],
        env=os.environ | {"FAULT_EXAMPLES": str(examples), "FAULT_SEED": str(seed)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    main()
