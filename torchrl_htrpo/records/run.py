"""Record a training run on disk: metrics, progress, checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchrl import torchrl_logger
from torchrl.record.loggers import Logger
from tqdm import tqdm

from torchrl_htrpo._errors import choice, count, refusal
from torchrl_htrpo.records.checkpoints import checkpoints_of, set_damaged_aside, stored_checkpoints, sweep
from torchrl_htrpo.records.disk import name_full_disk, replace_file
from torchrl_htrpo.records.lock import FolderLock
from torchrl_htrpo.records.loggers import check_backend, log_video, make_loggers
from torchrl_htrpo.records.plots import plot_run
from torchrl_htrpo.records.provenance import provenance
from torchrl_htrpo.records.quiet_run import QuietRun
from torchrl_htrpo.records.tables import check_name, forget_after, read_scalars, write_table

REDRAWN_AFTER = 30.0  # seconds


class Run(QuietRun):
    """Record one run in a folder: metrics, learning curve, checkpoints; show a progress bar.

    Files: ``checkpoints/`` (the last two iterations and the one with the best evaluation), ``metrics.csv`` (one row per
    step), ``learning_curve.png``, ``run.json`` (configuration, versions, commit, machine), and those of the logger.

    Inside ``with``, SIGINT and SIGTERM do not end the process: ``stop`` is true after one, and the loop must leave
    after its iteration (``while not (last or run.stop)``) and save what is ``unsaved``. The process then ends with 130
    or 143.

    Args:
        directory: the run's folder.
        total_steps: environment steps at the end, for the progress bar.
        name: of the run.
        components: objects to save in checkpoints (with ``state_dict`` and ``load_state_dict``).
        backend: of TorchRL's logger: ``"csv"``, ``"tensorboard"`` or ``"wandb"``.
        headline: draw the learning curve once this metric was logged.
        config: the configuration that must not change when a run resumes, as JSON values.
        settings: the whole configuration, for ``run.json`` and :func:`~torchrl_htrpo.records.trusted.load_config`.
            Default: ``config``.
        processes: how many train together.
        best_by: the success rate that decides which checkpoint is the best: ``"success"`` at any step, or
            ``"success_last"``.

    Example:
        >>> import tempfile, torch
        >>> with Run(Path(tempfile.mkdtemp()), 100, name="doc", components={"net": torch.nn.Linear(1, 1)}) as run:
        ...     steps = run.begin()
        ...     run.log(50, {"train/success": 0.5})
        ...     run.progress["steps"]
        50
    """

    def __init__(
        self,
        directory: Path,
        total_steps: int,
        *,
        name: str,
        components: Mapping[str, object],
        backend: str = "csv",
        headline: str = "eval/success",
        config: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
        processes: int = 1,
        best_by: str = "success",
    ) -> None:
        count(self, "total_steps", total_steps)
        count(self, "processes", processes)
        for argument, text in (("name", name), ("headline", headline)):
            check_name(text, argument)
        choice(self, "best_by", best_by, ("success", "success_last"))
        check_backend(self, backend)
        super().__init__(directory, total_steps, components=components, config=config, processes=processes)
        self.name, self.headline, self.backend, self.best_by = name, headline, backend, best_by
        self.settings = self.identity["config"] if settings is None else dict(settings)
        self.rotation = checkpoints_of(directory)
        self.loggers: list[Logger] = []
        self.bar = tqdm(total=total_steps, unit="step", desc=name, dynamic_ncols=True)
        self._scalars, self._lock = directory / "logs" / "scalars", FolderLock(directory)
        self._examined, self._first = False, 0
        self._since, self._drawn = time.monotonic(), -inf

    def begin(self) -> int:
        """Start a new run in this folder.

        Returns:
            The environment steps done: none.

        Raises:
            FileExistsError: if the folder holds a checkpoint of another run.
            RuntimeError: if another process trains in this folder.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._closed_on_error():
            self._lock.acquire()
            if stored := stored_checkpoints(self.directory):
                expected = "a folder without checkpoints, or the run to resume"
                raise FileExistsError(refusal(self, "directory", expected, str(stored[-1])))
            return self._start(0)

    def restore(self) -> int:
        """Resume from the newest intact checkpoint: load every component, and drop metrics logged after it.

        Nothing is created or changed before the checkpoint is accepted. Damaged checkpoints are warned about and
        renamed to ``damaged-...``.

        Returns:
            The environment steps done.

        Raises:
            FileNotFoundError: if there is no checkpoint.
            DamagedCheckpoint: if none is intact.
            ValueError: if it is of another configuration or of other versions.
            RuntimeError: if another process trains in this folder.
        """
        with self._closed_on_error():
            if stored_checkpoints(self.directory):
                self._lock.acquire()
            steps = super().restore()
            set_damaged_aside(self.directory)
            self._start(steps)
            self.bar.update(steps)
            self.draw()
        return steps

    def _start(self, steps: int) -> int:
        sweep(self.directory)
        forget_after(self._scalars, steps or -1)
        with name_full_disk(self.directory):
            self.loggers = make_loggers(self.directory, self.name, self.backend)
        record = self.directory / "run.json"
        starts = _starts(record) if steps else []
        starts.append({"at": datetime.now(UTC).isoformat(timespec="seconds"), "step": steps, **provenance()})
        replace_file(record, json.dumps({"config": self.settings, "starts": starts}, indent=2).encode())
        self._since, self._first = time.monotonic(), self.iterations
        return steps

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the loggers, and release the folder for other processes."""
        self.bar.close()
        while self.loggers:
            self.loggers.pop().close()
        self._lock.release()

    def _stopped(self, error: BaseException | None) -> None:
        failed = "" if error is None else f" (the last iteration is lost: {type(error).__name__})"
        torchrl_logger.warning(
            f"Run: stopped after {self.progress['steps']:.0f} steps{failed}; continue with resume={self.directory}"
        )

    def log(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an iteration that ended after ``steps`` environment steps.

        Args:
            steps: environment steps since the beginning.
            metrics: by name; a ``/`` in a name is a folder.

        Raises:
            ValueError: if a name leads out of the run's folder.
            RuntimeError: if the run was neither begun nor restored, or the folder's lock was removed or replaced.
            FileNotFoundError: if the folder of the logs was removed.
            OSError: if the disk is full.
        """
        for name in metrics:
            check_name(name)
        if not self.loggers:
            raise RuntimeError("Run: call begin() or restore() before log()")
        if not self._scalars.is_dir():
            raise FileNotFoundError(f"Run: {self._scalars} was removed while the run was using it")
        self._lock.require()
        now = time.monotonic()
        self.progress["seconds"] += now - self._since
        self._since = now
        self.bar.update(steps - self.progress["steps"])
        super().log(steps, metrics)
        self._examined = "eval/success" in metrics
        with name_full_disk(self.directory):
            for logger, (name, value) in product(self.loggers, metrics.items()):
                logger.log_scalar(name, value, step=steps)

    def show(self, **figures: float) -> None:
        """Show success and other metrics beside the progress bar, which tells the time left."""
        found = {"success": self.progress["success"], "at the end": self.progress["success_last"]}
        shown = {name: value for name, value in found.items() if value >= 0} | figures
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})

    def log_video(self, name: str, frames: NDArray[np.uint8], fps: float = 25.0) -> None:
        """Log frames ``[T, H, W, 3]`` with a logger that shows videos."""
        video = torch.from_numpy(frames).movedim(-1, 1)
        log_video(self.loggers, name, video, int(self.progress["steps"]), fps)

    def save(self) -> None:
        """Write a checkpoint atomically; keep the last two, and the one with the best evaluation.

        Raises:
            RuntimeError: if the folder's lock was removed or replaced.
            OSError: if the disk is full.
        """
        self._lock.require()
        success = self.progress[self.best_by] if self._examined else -1.0
        metadata = {**self.identity, "processes": self.processes, "success": success}
        self.rotation.save(self.checkpoint, step=int(self.progress["steps"]), metadata=metadata)
        super().save()

    def draw(self, *, final: bool = True) -> None:
        """Write the table of metrics, and the learning curve if its metric was logged.

        Args:
            final: draw the curve now; otherwise only if it is older than half a minute, since drawing takes a second.

        Raises:
            RuntimeError: if rows that this process logged were removed.
            OSError: if the disk is full.
        """
        table = read_scalars(self._scalars)
        rows = len({step for entries in table.values() for step, _ in entries})
        if rows < self.iterations - self._first:
            expected = f"at least {self.iterations - self._first} rows, one for each iteration since the start"
            raise RuntimeError(refusal(self, str(self._scalars), expected, f"{rows}: files were removed or replaced"))
        with name_full_disk(self.directory):
            write_table(table, self.directory / "metrics.csv")
            if self.headline in table and (final or time.monotonic() - self._drawn > REDRAWN_AFTER):
                self._drawn = time.monotonic()
                plot_run(table, self.directory / "learning_curve.png", self.name)

    def result(self) -> str:
        """The result of the run as one machine-readable line."""
        success = self.success if self.success >= 0 else nan  # not evaluated
        return (
            f"RESULT success={success:.3f} episodes={self.progress['episodes']:.0f} "
            f"env_steps={self.progress['steps']:.0f} seconds={self.progress['seconds']:.0f}"
        )


def _starts(record: Path) -> list[Any]:
    """Read the starts in ``run.json``; empty if it is missing or damaged, since training does not need it."""
    try:
        return list(json.loads(record.read_bytes())["starts"])
    except (OSError, ValueError, KeyError, TypeError):
        torchrl_logger.warning(f"Run: {record} cannot be read; its earlier starts are lost")
        return []
