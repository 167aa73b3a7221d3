"""The recipes of the small tasks run, with every head that fits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    "num_envs=4",
    "horizon=5",
    "total_steps=60",
    "warmup_steps=20",
    "hidden_sizes=[8]",
    "num_goals=6",
    "critic.updates=2",
)
EXAM = ("eval_episodes=4", "final_episodes=4", "hydra.run.dir=made")
HEADS = ("gmm", "full_covariance")


TASKS = [
    ("htrpo_gear_shift", "mixed"),
    ("htrpo_maze", "categorical"),
    ("htrpo_hidden_gap", "gmm"),
    *(("htrpo_detour", h) for h in HEADS),
]


@pytest.mark.parametrize(("recipe", "head"), TASKS)
def test_it_runs_and_examines_itself(recipe, head, tmp_path):
    script = str(ROOT / "recipes" / f"{recipe}.py")
    quiet = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RL_WARNINGS": "0"}
    arguments = [sys.executable, "-W", "ignore", script, f"head={head}", *TINY, *EXAM]
    done = subprocess.run(arguments, cwd=tmp_path, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("RESULT success=")
    assert (tmp_path / "made/metrics.csv").exists()
