"""Kill runs with SIGKILL at random moments, resume each, and compare its end with that of an unbroken run.

    python benchmarks/soak_resume.py --hours 4

Compared bit for bit: every file of the last checkpoint (policy, critic, optimizer, generators, counters) and every
row of ``metrics.csv`` but the times. Each round has a seed of its own and adds a row to the table; a later start
continues after the last row, so that hours add up.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.recipes.runs import EXAM, ROOT, TINY, assert_same, budget, killed_run, metrics, run

FIELDS = ("commit", "recipe", "seed", "kills", "rows", "same", "seconds")
HER = ("env.num_bits=4", "num_envs=4", "hidden_sizes=[8]", "batch_size=16", "replay_episodes=4", "target_success=null")
RUNS = {
    "htrpo_bitflip": (*TINY["htrpo_bitflip"], budget("htrpo_bitflip", 80)),
    "htrpo_fetch": (*TINY["htrpo_fetch"], budget("htrpo_fetch", 40)),
    "her_bitflip": (*HER, "save_every=3", "total_steps=960", *EXAM),  # 60 iterations
}


def main() -> None:
    """Soak, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=0.1, help="of this start; a round that has begun is finished")
    parser.add_argument("--table", type=Path, default=ROOT / "benchmarks" / "soak_resume.csv")
    args = parser.parse_args()
    if not args.table.exists():
        args.table.write_text(",".join(FIELDS) + "\n")
    until = time.monotonic() + 3600 * args.hours
    while time.monotonic() < until:
        number = len(_rows(args.table))
        with args.table.open("a") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(_round(number))
    rows = _rows(args.table)
    kills, same = (sum(int(row[name]) for row in rows) for name in ("kills", "same"))
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    print(f"RESULT hours={hours:.2f} rounds={len(rows)} same={same} kills={kills}")


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def _round(seed: int) -> Mapping[str, object]:
    """One unbroken run and one that is killed; the row of the table."""
    recipe = list(RUNS)[seed % len(RUNS)]
    settings = (*RUNS[recipe], f"seed={seed}")
    since = time.monotonic()
    folder = Path(tempfile.mkdtemp())
    whole = run(recipe, *settings, "hydra.run.dir=whole", folder=folder, timeout=3600)
    assert whole.returncode == 0, whole.stderr[-2000:]
    longest = (time.monotonic() - since) / 5
    kills = killed_run(recipe, *settings, folder=folder, kills=20, longest=longest, seed=seed, timeout=3600)
    rows = len(metrics(folder / "run")["critic/loss"])
    try:
        assert_same(folder / "whole", folder / "run")
        same = 1
        shutil.rmtree(folder)
    except AssertionError as error:
        same = 0
        print(f"round {seed} differs, see {folder}: {error}", flush=True)
    values = (_commit(), recipe, seed, kills, rows, same, round(time.monotonic() - since))
    return dict(zip(FIELDS, values, strict=True))


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
