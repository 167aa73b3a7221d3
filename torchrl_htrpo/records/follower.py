"""The part of a run for the processes that write no records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from torchrl.checkpoint import GlobalRNGState

from torchrl_htrpo.records.checkpoints import load_newest
from torchrl_htrpo.records.provenance import versions
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.records.signals import StopSignals


class Follower:
    """Stand in for a :class:`~torchrl_htrpo.records.Run` on all processes but the first: count, resume, write nothing.

    Args:
        directory: the run's folder, which all processes must see to resume.
        total_steps: unused.
        components: objects that checkpoints hold, the same as those of the first process.
        config: the configuration that must not change when a run resumes.
        processes: how many train together.
        **shown: what only a :class:`~torchrl_htrpo.records.Run` uses.

    Example:
        >>> import torch
        >>> follower = Follower(Path("none"), 100, components={"net": torch.nn.Linear(1, 1)}, processes=2)
        >>> with follower:
        ...     steps = follower.begin()
        ...     follower.log(50, {"train/success": 0.5})
        >>> follower.iterations
        1
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
        self.directory, self.processes = directory, processes
        self.identity = {"config": dict(config or {}), "versions": versions()}
        self.progress: dict[str, float] = {"steps": 0, "iterations": 0, "seconds": 0.0, "episodes": 0}
        self.progress |= {"success": -1.0, "success_last": -1.0}
        # Loaded too, so that every process knows the progress; "rng" is replaced by that of each process.
        entries = {"rng": GlobalRNGState(), "progress": self.progress, **components}
        self.checkpoint, self.stop, self.same_processes = SealedCheckpoint(**entries), StopSignals(), True
        self._saved = 0.0

    def begin(self) -> int:
        """See :meth:`Run.begin`."""
        return 0

    def restore(self) -> int:
        """See :meth:`Run.restore`; the first process sets damaged checkpoints aside."""
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
        """Count an iteration."""
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

    def result(self) -> str:
        """Nothing: the first process says it."""
        return ""

    def __enter__(self) -> Follower:
        self.stop.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.__exit__(kind, value, trace)
        if self.stop:
            raise SystemExit(self.stop.exit_code) from value
