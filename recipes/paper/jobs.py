"""Expand an entry to runs, skip the finished ones, and run several at once, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

RECIPES = Path(__file__).parents[1]
# One core for each: several runs at once are faster than several threads in one. The process keeps freed memory
# (glibc reads MALLOC_*), which is several times faster on shared cores.
ONE_CORE = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "67108864",
    "RL_WARNINGS": "0",
}


@dataclass(frozen=True)
class Job:
    """One run: a recipe with overrides and a seed, in a folder of its own."""

    task: str
    system: str
    seed: int
    recipe: str
    overrides: tuple[str, ...]
    root: Path

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.root / self.task / self.system / f"seed_{self.seed}"

    @property
    def settings(self) -> list[str]:
        """Recipe, overrides and seed, which identify the run."""
        return [self.recipe, *self.overrides, f"seed={self.seed}"]

    @property
    def done(self) -> bool:
        """Whether it ran to its end with these settings."""
        mark = self.folder / "finished.json"
        return mark.exists() and json.loads(mark.read_text()) == self.settings

    def run(self) -> str:
        """Start or resume the run; return its outcome as one line."""
        if self.done:
            return f"done before: {self}"
        more = [f"resume={self.folder}"] if (self.folder / "checkpoints").exists() else []
        self.folder.mkdir(parents=True, exist_ok=True)
        recipe, *settings = self.settings
        script = str(RECIPES / f"{recipe}.py")
        command = [sys.executable, "-W", "ignore", script, *settings, *more, f"hydra.run.dir={self.folder}"]
        with (self.folder / "output.txt").open("w") as output:
            ended = subprocess.run(command, env=os.environ | ONE_CORE, stdout=output, stderr=output, check=False)
        if ended.returncode:
            return f"FAILED {self}: see {self.folder / 'output.txt'}"
        (self.folder / "finished.json").write_text(json.dumps(self.settings))
        return f"done: {self}: {(self.folder / 'output.txt').read_text().splitlines()[-1]}"

    def __str__(self) -> str:
        return f"{self.task}, {self.system}, seed {self.seed}"


def jobs_of(cfg: DictConfig) -> Iterator[Job]:
    """All runs of an entry: every system with the first seed, then every system with the second, and so on."""
    for seed in range(cfg.first_seed, cfg.first_seed + cfg.seeds):
        for task, system in rows_of(cfg):
            base, own = cfg.tasks[task], cfg.entry.runs[task][system] or {}
            steps = cfg.steps or own.get("steps", base.steps)
            # A system that names a recipe lists all overrides; any other adds its own to those of the task.
            chosen = own.get("overrides", [f"system={system}"])
            overrides = (*(() if "recipe" in own else base.overrides), *chosen, f"total_steps={steps}", *cfg.overrides)
            yield Job(
                task, system, seed, own.get("recipe", base.get("recipe", "htrpo")), overrides, Path(cfg.runs).absolute()
            )


def rows_of(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    """The selected (task, system) pairs of an entry."""
    for task, systems in cfg.entry.runs.items():
        for system in systems:
            if (cfg.only_tasks is None or task in cfg.only_tasks) and (
                cfg.only_systems is None or system in cfg.only_systems
            ):
                yield task, system


def run_all(jobs: Sequence[Job], at_once: int | None) -> None:
    """Run several at once, each in a process; a failed run does not stop the others."""
    with ThreadPoolExecutor(at_once or os.cpu_count()) as pool:
        for line in pool.map(Job.run, jobs):
            print(line, flush=True)
