"""A training run on disk: metrics, progress, checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from torchrl import torchrl_logger
from torchrl.checkpoint import Checkpoint, GlobalRNGState
from torchrl.record.loggers import get_logger
from tqdm import tqdm

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.evaluation.checkpoints import checkpoints_of, load_data, refuse_differences, sweep
from torchrl_htrpo.evaluation.metrics import forget_after, read_scalars, replace_text, write_table
from torchrl_htrpo.evaluation.plots import plot_learning_curve
from torchrl_htrpo.evaluation.provenance import provenance, versions
from torchrl_htrpo.evaluation.signals import StopSignals


class Run:
    """One run: a folder with metrics, a learning curve and checkpoints, and a progress bar.

    In the folder: ``checkpoints/`` (the last two complete iterations and the best examined one), ``metrics.csv`` (one
    row per step), ``learning_curve.png``, ``run.json`` (configuration, versions, commit, machine), and what the logger
    writes.

    Inside ``with``, SIGINT and SIGTERM do not end the process: ``stop`` is true after one, and the loop must save and
    leave after its iteration (``while not (last or run.stop)``). The process then ends with 130 or 143.

    Args:
        directory: the run's folder.
        total_steps: environment steps at the end, for the progress bar.
        name: of the run.
        components: what a checkpoint holds (anything with a ``state_dict``).
        backend: of TorchRL's logger: ``"csv"``, ``"tensorboard"`` or ``"wandb"``.
        headline: metric of the learning curve.
        config: what must be the same for a run to go on from a checkpoint, in values that JSON knows.

    Example:
        >>> import tempfile, torch
        >>> with Run(Path(tempfile.mkdtemp()), 100, name="doc", components={"net": torch.nn.Linear(1, 1)}) as run:
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
    ) -> None:
        self.directory, self.name, self.headline = directory, name, headline
        self.identity = {"config": dict(config or {}), "versions": versions()}
        self.progress: dict[str, float] = {"steps": 0, "iterations": 0, "seconds": 0.0, "success": -1.0, "episodes": 0}
        self.checkpoint = Checkpoint(rng=GlobalRNGState(), progress=self.progress, **components)
        self.rotation = checkpoints_of(directory)
        self.metrics = get_logger("csv", str(directory), "logs")
        self.logger = None if backend in ("csv", "") else get_logger(backend, str(directory), name)
        self.bar = tqdm(total=total_steps, unit="step", desc=name, dynamic_ncols=True)
        self.stop = StopSignals()
        self._examined = False
        self._since = time.monotonic()

    def begin(self) -> int:
        """Begin in this folder, which holds no complete iteration of another run.

        Returns:
            The environment steps done: none.

        Raises:
            FileExistsError: if it does.
        """
        if (latest := self.rotation.latest()) is not None:
            expected = "a folder without checkpoints, or the run to resume"
            raise FileExistsError(refusal(self, "directory", expected, str(latest)))
        return self._start(0)

    def restore(self) -> int:
        """Go on from the last checkpoint: load every component, and forget metrics logged after it was written.

        Returns:
            The environment steps done.

        Raises:
            FileNotFoundError: if there is no checkpoint.
        """
        latest = self.rotation.latest()
        if latest is None:
            expected = "the folder of a run with at least one complete iteration"
            raise FileNotFoundError(refusal(self, "directory", expected, str(self.directory)))
        refuse_differences(latest, self.identity)
        load_data(self.checkpoint, latest)
        steps = self._start(int(self.progress["steps"]))
        self.bar.update(steps)
        self.draw()
        return steps

    def _start(self, steps: int) -> int:
        sweep(self.directory)
        forget_after(self.directory / "logs" / "scalars", steps or -1)
        record = self.directory / "run.json"
        starts = json.loads(record.read_text())["starts"] if steps and record.exists() else []
        starts.append({"at": datetime.now(UTC).isoformat(timespec="seconds"), "step": steps, **provenance()})
        replace_text(record, json.dumps({"config": self.identity["config"], "starts": starts}, indent=2) + "\n")
        self._since = time.monotonic()
        return steps

    @property
    def iterations(self) -> int:
        """Iterations logged so far."""
        return int(self.progress["iterations"])

    def __enter__(self) -> Run:
        self.stop.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        self.stop.__exit__(kind, value, trace)
        if self.stop:
            failed = "" if value is None else f" (the last iteration is lost: {type(value).__name__})"
            torchrl_logger.warning(
                f"Run: stopped after {self.progress['steps']:.0f} steps{failed}; go on with resume={self.directory}"
            )
            raise SystemExit(self.stop.exit_code) from value

    def log(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an iteration that ended after ``steps`` environment steps."""
        now = time.monotonic()
        self.progress["seconds"] += now - self._since
        self._since = now
        self.progress["iterations"] += 1
        self.bar.update(steps - self.progress["steps"])
        self.progress["steps"] = steps
        self._examined = "eval/success" in metrics
        if self._examined:
            self.progress |= {"success": metrics["eval/success"], "episodes": metrics.get("eval/episodes", 0)}
        for name, value in metrics.items():
            self.metrics.log_scalar(name, value, step=steps)
            if self.logger is not None:
                self.logger.log_scalar(name, value, step=steps)

    def show(self, **figures: float) -> None:
        """Show figures beside the progress bar."""
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()})

    def save(self) -> None:
        """Write a checkpoint, complete or not at all; keep the last two, and the best that was examined."""
        success = self.progress["success"] if self._examined else -1.0
        self.rotation.save(
            self.checkpoint, step=int(self.progress["steps"]), metadata={**self.identity, "success": success}
        )

    def draw(self) -> None:
        """Write the table of metrics, and the learning curve once there is something to draw."""
        table = read_scalars(self.directory / "logs" / "scalars")
        write_table(table, self.directory / "metrics.csv")
        if self.headline in table:
            plot_learning_curve(table, self.directory / "learning_curve.png", self.name, self.headline)

    @property
    def success(self) -> float:
        """The last examined success rate, -1 before the first."""
        return self.progress["success"]

    def result(self) -> str:
        """The run in one machine-readable line."""
        return (
            f"RESULT success={self.success:.3f} episodes={self.progress['episodes']:.0f} "
            f"env_steps={self.progress['steps']:.0f} seconds={self.progress['seconds']:.0f}"
        )
