"""The part of a run that every process does: count, resume, stop after a signal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torchrl.checkpoint import GlobalRNGState

from torchrl_htrpo.records.checkpoints import load_newest
from torchrl_htrpo.records.provenance import versions
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.records.signals import StopSignals


class QuietRun:
    """A run without records, for all processes but the first; a :class:`~torchrl_htrpo.records.Run` adds the records.

    Args:
        directory: the run's folder, which all processes must see to resume.
        total_steps: environment steps at the end.
        components: objects that checkpoints hold, the same in every process.
        config: the configuration that must not change when a run resumes, as JSON values.
        processes: how many train together.
        **shown: unused; what a :class:`~torchrl_htrpo.records.Run` shows and writes.
    """

    def __init__(
        self,
        directory: Path,
        total_steps: int,
        *,
        components: Mapping[str, object],
        config: Mapping[str, object] | None = None,
        processes: int = 1,
        **shown: object,
    ) -> None:
        self.directory, self.total_steps, self.processes = directory, total_steps, processes
        self.identity = {"config": dict(config or {}), "versions": versions()}
        self.progress: dict[str, float] = {"steps": 0, "iterations": 0, "seconds": 0.0, "episodes": 0}
        self.progress |= {"success": -1.0, "success_last": -1.0}
        entries = {"rng": GlobalRNGState(), "progress": self.progress, **components}
        self.checkpoint, self.stop, self.same_processes = SealedCheckpoint(**entries), StopSignals(), True
        self._saved = 0.0

    def begin(self) -> int:
        """Start a new run; return the environment steps done: none."""
        return 0

    def restore(self) -> int:
        """Load the newest intact checkpoint; return the environment steps done."""
        self.same_processes = load_newest(self.checkpoint, self.directory, self.identity, self.processes)
        self._saved = self.progress["steps"]
        return int(self._saved)

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return int(self.progress["iterations"])

    @property
    def unsaved(self) -> bool:
        """Whether there was an iteration after the last checkpoint."""
        return self.progress["steps"] != self._saved

    @property
    def success(self) -> float:
        """Success rate of the last evaluation, -1 before the first."""
        return self.progress["success"]

    def log(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Count an iteration that ended after ``steps`` environment steps."""
        self.progress["iterations"] += 1
        self.progress["steps"] = steps
        for name in ("success", "success_last", "episodes"):
            self.progress[name] = metrics.get(f"eval/{name}", self.progress[name])

    def save(self) -> None:
        """Note that the first process saves."""
        self._saved = self.progress["steps"]

    def show(self, **figures: float) -> None:
        """Show nothing."""

    def log_video(self, name: str, frames: NDArray[np.uint8], fps: float = 25.0) -> None:
        """Log nothing."""

    def draw(self, *, final: bool = True) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """Close nothing."""

    def result(self) -> str:
        """Return nothing: the first process prints the result."""
        return ""

    def __enter__(self) -> Self:
        self.stop.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.stop.__exit__(kind, value, trace)
        if self.stop:
            self._stopped(value)
            raise SystemExit(self.stop.exit_code) from value

    def _stopped(self, error: BaseException | None) -> None:
        """Say nothing."""
