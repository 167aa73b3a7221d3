"""Expand an entry, or the list of ``order.yaml``, to runs; find the finished ones; start or resume runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data import Record, place_of
from kept import restore_run
from omegaconf import DictConfig, OmegaConf

from torchrl_htrpo.records.checkpoints import stored_checkpoints

RECIPES = Path(__file__).parents[1]
ENTRIES = Path(__file__).parent / "config" / "entry"
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
    """One run: a recipe with overrides and a seed, in a folder of its own.

    ``ending`` says when the run may end early. It changes how long a run is and not which run it is. Several
    ``processes`` are started by torchrun.
    """

    task: str
    system: str
    seed: int
    recipe: str
    overrides: tuple[str, ...]
    root: Path
    ending: tuple[str, ...] = ()
    processes: int = 1

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.root / self.task / self.system / f"seed_{self.seed}"

    @property
    def settings(self) -> list[str]:
        """Recipe, overrides, seed and processes, which identify the run."""
        several = [f"processes={self.processes}"] if self.processes > 1 else []
        return [self.recipe, *self.overrides, f"seed={self.seed}", *several]

    @property
    def launcher(self) -> list[str]:
        """What starts several processes."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
        return torchrun if self.processes > 1 else []

    @property
    def done(self) -> bool:
        """Whether it ran to its end with these settings, in its folder."""
        mark = self.folder / "finished.json"
        return mark.exists() and json.loads(mark.read_text()) == self.settings

    def done_elsewhere(self, data: Path) -> bool:
        """Whether the kept results hold it, run to its end with these settings."""
        record = Record.read(place_of(data, self.task, self.system, self.seed).with_suffix(".json"))
        return record.finished and record.settings == self.settings

    def start(self, archives: Path | None = None) -> subprocess.Popen[bytes]:
        """Start or resume the run, from its folder, or from its archive if that is newer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if archives is not None:
            restore_run(self.archive(archives), self.folder)
        more = [f"resume={self.folder}"] if stored_checkpoints(self.folder) else []
        (self.folder / "settings.json").write_text(json.dumps(self.settings))
        command = [
            sys.executable,
            "-W",
            "ignore",
            *self.launcher,
            str(RECIPES / f"{self.recipe}.py"),
            *self.overrides,
            f"seed={self.seed}",
            *self.ending,
            *more,
            f"hydra.run.dir={self.folder}",
        ]
        with (self.folder / "output.txt").open("w") as output:
            # A session of its own: Ctrl-C reaches the parent only, which stops its runs once.
            return subprocess.Popen(
                command, env=os.environ | ONE_CORE, stdout=output, stderr=output, start_new_session=True
            )

    def finish(self) -> str:
        """Mark it as done; return its last line."""
        (self.folder / "finished.json").write_text(json.dumps(self.settings))
        return (self.folder / "output.txt").read_text().splitlines()[-1]

    def archive(self, archives: Path) -> Path:
        """Where it is kept while it is unfinished."""
        return archives / self.task / self.system / f"seed_{self.seed}.tar.xz"

    def __str__(self) -> str:
        return f"{self.task}, {self.system}, seed {self.seed}"


def jobs_of(cfg: DictConfig) -> Iterator[Job]:
    """All selected runs, in the order in which they are to be run."""
    yield from _listed(cfg) if cfg.by_value else _of_entry(cfg)


def entries_of(cfg: DictConfig) -> Iterator[DictConfig]:
    """The entries of these runs."""
    names = dict.fromkeys(row.entry for row in cfg.order) if cfg.by_value else ()
    yield from (OmegaConf.load(ENTRIES / f"{name}.yaml") for name in names) if names else (cfg.entry,)


def _of_entry(cfg: DictConfig) -> Iterator[Job]:
    """Every system with the first seed, then every system with the second, and so on."""
    for seed in range(cfg.first_seed, cfg.first_seed + cfg.seeds):
        yield from (_job(cfg, cfg.entry, task, system, seed) for task, system in rows_of(cfg))


def _listed(cfg: DictConfig) -> Iterator[Job]:
    """The list of ``order.yaml``: a line is a system on a task of an entry, with its seeds."""
    for row in cfg.order:
        if _asked_for(cfg, row.task, row.system):
            entry = OmegaConf.load(ENTRIES / f"{row.entry}.yaml")
            yield from (_job(cfg, entry, row.task, row.system, seed) for seed in row.seeds)


def _job(cfg: DictConfig, entry: DictConfig, task: str, system: str, seed: int) -> Job:
    base, own = cfg.tasks[task], entry.runs[task][system] or {}
    steps = cfg.steps or own.get("steps", base.steps)
    # A system that names a recipe lists all overrides; any other adds its own to those of the task.
    chosen = own.get("overrides", [f"system={system}"])
    overrides = (*(() if "recipe" in own else base.overrides), *chosen, f"total_steps={steps}", *cfg.overrides)
    recipe, root = own.get("recipe", base.get("recipe", "htrpo")), Path(cfg.runs).absolute()
    ending = _ending(cfg, task, system)
    return Job(task, system, seed, recipe, overrides, root, ending, own.get("processes", 1))


def _ending(cfg: DictConfig, task: str, system: str) -> tuple[str, ...]:
    """The paper's final value as the target, where one is known."""
    found = [row.paper for row in cfg.rows if row.data == f"{task}/{system}"] if cfg.stop_at_paper else []
    return (f"target_success={found[0]}", "target_evaluations=3") if found else ()


def rows_of(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    """The selected (task, system) pairs of an entry."""
    for task, systems in cfg.entry.runs.items():
        yield from ((task, system) for system in systems if _asked_for(cfg, task, system))


def _asked_for(cfg: DictConfig, task: str, system: str) -> bool:
    return (cfg.only_tasks is None or task in cfg.only_tasks) and (
        cfg.only_systems is None or system in cfg.only_systems
    )
