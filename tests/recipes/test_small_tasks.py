"""The recipes of the small tasks run, with every head that fits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.recipes import runs
from torchrl_htrpo.records import read_table

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


def run(recipe, *arguments, folder):
    """Run a recipe; give its last line."""
    command = runs.command(recipe, *arguments)
    quiet = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RL_WARNINGS": "0"}
    done = subprocess.run(command, cwd=folder, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(("recipe", "head"), TASKS)
def test_it_runs_and_evaluates(recipe, head, tmp_path):
    assert run(recipe, f"head={head}", *TINY, *EXAM, folder=tmp_path).startswith("RESULT success=")
    assert (tmp_path / "made/metrics.csv").exists()


@pytest.mark.parametrize(("control", "head"), [("discrete", "multi_categorical"), ("continuous", "gaussian")])
def test_the_gear_shift_accepts_policies_without_mixed_actions(control, head, tmp_path):
    arguments = (f"head={head}", f"env.control={control}")
    assert run("htrpo_gear_shift", *arguments, *TINY, *EXAM, folder=tmp_path).startswith("RESULT success=")


def test_ms_pacman_runs_and_evaluates(tmp_path):
    pytest.importorskip("ale_py", reason="Ms. Pac-Man needs ale-py (the extra `atari`)")
    tiny = (
        "num_envs=2",
        "env.num_workers=0",
        "batch_steps=52",
        "warmup_steps=4",
        "total_steps=108",
        "critic.updates=2",
    )
    last = run("htrpo_pacman", *tiny, "trunk.num_cells=[2,2,2]", *EXAM, folder=tmp_path)
    assert last.startswith("RESULT success=")
    assert len(read_table(tmp_path / "made/metrics.csv")["train/success"]) == 2
