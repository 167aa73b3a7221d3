"""Recipes as processes: tiny settings, kills, and what must be the same bit for bit in the end."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from torchrl_htrpo.recipes.command import SCHEMAS
from torchrl_htrpo.recipes.settings import validate
from torchrl_htrpo.records import read_table
from torchrl_htrpo.records.checkpoints import checkpoints_of

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
CONF = ROOT / "torchrl_htrpo" / "recipes" / "conf"
TASKS = ("bitflip", "maze", "pacman", "detour", "hidden_gap", "gear_shift")
# What is run under a name: a recipe and the choice of its task.
NAMED = {f"htrpo_{task}": ("htrpo", f"task={task}") for task in TASKS}
NAMED |= {f"her_{task}": ("her", f"task={task}") for task in ("bitflip", "detour")}
NAMED |= {"htrpo_fetch": ("htrpo", "task=reach"), "her_fetch": ("her", "task=reach")}
EXAM = ("eval_episodes=4", "final_episodes=4")
TINY = {
    "htrpo_bitflip": ("env.num_bits=4", "hidden_sizes=[8]", "critic.updates=2", "target_success=null", *EXAM),
    "htrpo_fetch": (
        "num_envs=4",
        "horizon=5",
        "batch_steps=20",
        "warmup_steps=20",
        "env.num_threads=1",
        "hidden_sizes=[8]",
        "num_goals=6",
        "gradient_rows=64",
        "curvature_rows=32",
        "critic.updates=2",
        "critic.batch_size=64",
        *EXAM,
    ),
}
STEPS = {"htrpo_bitflip": 64, "htrpo_fetch": 20}  # of an iteration
WARMUP = {"htrpo_bitflip": 0, "htrpo_fetch": 20}


def check(name: str, cfg) -> None:
    """Validate the configuration of a recipe."""
    validate(cfg, SCHEMAS[NAMED.get(name, (name,))[0]])


def budget(name: str, iterations: int) -> str:
    """The budget of so many iterations."""
    return f"total_steps={WARMUP[name] + iterations * STEPS[name]}"


def command(script: str, *overrides: str) -> list[str]:
    """The command line of a recipe, or of one with its task."""
    if script == "play":
        return [sys.executable, "-W", "ignore", "-m", "torchrl_htrpo", "play", *overrides]
    script, *task = NAMED.get(script, (script,))
    return [sys.executable, "-W", "ignore", str(RECIPES / f"{script}.py"), *task, *overrides]


def environment() -> dict[str, str]:
    """One thread, the library of this checkout, quiet."""
    drawing = {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")}
    return os.environ | drawing | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RL_WARNINGS": "0"}


def run(script: str, *overrides: str, folder: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a recipe in a process of its own."""
    return subprocess.run(
        command(script, *overrides),
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def killed_run(
    script: str, *overrides: str, folder: Path, kills: int, longest: float, seed: int = 0, timeout: float = 240
) -> int:
    """Run a recipe into ``folder / "run"`` and kill it at random moments, then let it end; give the kills.

    Args:
        script: the recipe.
        *overrides: its settings.
        folder: where it runs.
        kills: how often it is killed with SIGKILL, unless it ends before.
        longest: seconds from its first words to the kill, at most.
        seed: of the moments.
        timeout: seconds that the last start may take.
    """
    dice, done = random.Random(seed), 0
    while done < kills and _killed_while_alive(dice.uniform(0, longest), script, *overrides, folder=folder):
        done += 1
    ended = run(script, *overrides, *_where(folder), folder=folder, timeout=timeout)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return done


def _where(folder: Path) -> list[str]:
    made = folder / "run"
    go_on = checkpoints_of(made).latest() is not None
    return [f"resume={made}", "hydra.run.dir=more"] if go_on else [f"hydra.run.dir={made}"]


def _killed_while_alive(seconds: float, script: str, *overrides: str, folder: Path) -> bool:
    with subprocess.Popen(
        command(script, *overrides, *_where(folder)),
        env=environment(),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        process.stderr.read(1)  # the progress bar: imports are done, the run begins
        time.sleep(seconds)
        alive = process.poll() is None
        process.kill()
        process.communicate()
    return alive


def state(folder: Path) -> dict[str, bytes]:
    """Every byte of the last checkpoint but the seconds it took."""
    latest = checkpoints_of(folder).latest()
    found = {
        str(file.relative_to(latest)): file.read_bytes()
        for file in (latest / "components").rglob("*")
        if file.is_file()
    }
    (progress,) = [name for name in found if "progress" in name]
    kept = json.loads(found[progress])
    del kept["seconds"]
    return found | {progress: json.dumps(kept).encode(), "name": latest.name.encode()}


def metrics(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The table but for times."""
    table = read_table(folder / "metrics.csv")
    return {name: rows for name, rows in table.items() if not name.startswith("time/")}


def assert_same(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    left, right = state(one), state(other)
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []
