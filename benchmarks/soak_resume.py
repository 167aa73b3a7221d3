"""Kill a run with SIGKILL at random moments, resume it, and compare its end with that of an uninterrupted run.

    python benchmarks/soak_resume.py --recipe htrpo_bitflip --kills 20

Compared bit for bit: every file of the last checkpoint (policy, critic, optimizer, generators, counters) and every
row of ``metrics.csv`` but the times.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.recipes.runs import TINY, assert_same, budget, killed_run, metrics, run


def main() -> None:
    """Kill, resume, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=TINY, default="htrpo_bitflip")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--longest", type=float, default=1.0, help="seconds from a start to its kill, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()

    folder, since = Path(tempfile.mkdtemp()), time.monotonic()
    settings = (*TINY[args.recipe], budget(args.recipe, args.iterations))
    whole = run(args.recipe, *settings, "hydra.run.dir=whole", folder=folder)
    assert whole.returncode == 0, whole.stderr[-2000:]
    kills = killed_run(args.recipe, *settings, folder=folder, kills=args.kills, longest=args.longest, seed=args.seed)
    assert_same(folder / "whole", folder / "run")
    rows = len(metrics(folder / "run")["critic/loss"])
    print(f"RESULT recipe={args.recipe} kills={kills} rows={rows} same=1 seconds={time.monotonic() - since:.0f}")


if __name__ == "__main__":
    main()
