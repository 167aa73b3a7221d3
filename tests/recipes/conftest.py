"""Recipes, run inside the test or through their command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
EXAM = ("eval_episodes=4", "final_episodes=4")
TINY = {
    "htrpo_bitflip": ("num_bits=4", "hidden_sizes=[8]", "critic.updates=2", "target_success=null", *EXAM),
    "htrpo_fetch": (
        "num_envs=4",
        "horizon=5",
        "batch_steps=20",
        "warmup_steps=20",
        "num_threads=1",
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


def budget(name: str, iterations: int) -> str:
    """The budget of so many iterations."""
    return f"total_steps={WARMUP[name] + iterations * STEPS[name]}"


@pytest.fixture(autouse=True)
def importable(monkeypatch) -> None:
    """Recipes find each other by their folder, as when they are run."""
    monkeypatch.syspath_prepend(str(RECIPES))


@pytest.fixture
def configured() -> Callable[..., DictConfig]:
    """A tiny configuration of a recipe, with overrides; the run's folder is ``directory``."""

    def make(name: str, *overrides: str, directory: Path | str = "unused", tiny: bool = True) -> DictConfig:
        every = [*(TINY[name] if tiny else ()), *overrides, f"hydra.run.dir={directory}"]
        with initialize_config_dir(str(RECIPES / "config"), version_base="1.3"):
            cfg = compose(name, [*every, f"hydra.runtime.output_dir={directory}"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])

    return make


@pytest.fixture
def trained(configured) -> Callable[..., str]:
    """Train inside the test; give the last line."""

    def make(name: str, *overrides: str, directory: Path) -> str:
        from htrpo import train

        return train(configured(name, *overrides, directory=directory))

    return make


def command(script: str, *overrides: str) -> list[str]:
    """The command line of a recipe."""
    return [sys.executable, "-W", "ignore", str(RECIPES / f"{script}.py"), *overrides]


def environment() -> dict[str, str]:
    """One thread, the library of this checkout, quiet."""
    drawing = {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")}
    return os.environ | drawing | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RL_WARNINGS": "0"}


def run(script: str, *overrides: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a recipe in a process of its own."""
    return subprocess.run(
        command(script, *overrides),
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
