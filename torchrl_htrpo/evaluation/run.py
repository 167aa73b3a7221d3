"""A training run on disk: metrics, progress, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch import Tensor
from torchrl.checkpoint import Checkpoint, GlobalRNGState
from torchrl.envs import EnvBase
from torchrl.record.loggers import get_logger
from tqdm import tqdm

from torchrl_htrpo.evaluation.metrics import forget_after, read_scalars, write_table
from torchrl_htrpo.evaluation.plots import plot_learning_curve
from torchrl_htrpo.evaluation.rollout import Evaluation


class EnvRandomness:
    """The random state of an environment, for a checkpoint: the goals and starts still to come.

    Only of environments that have one to give (``rng_state``, ``set_rng_state``); others start anew after a resume.

    Args:
        env: the environment.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> list(EnvRandomness(BitFlipEnv(4)).state_dict())
        ['generator']
    """

    def __init__(self, env: EnvBase) -> None:
        self.env = env

    def state_dict(self) -> dict[str, Tensor]:
        """The state."""
        return self.env.rng_state() if hasattr(self.env, "rng_state") else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the state back."""
        if hasattr(self.env, "set_rng_state"):
            self.env.set_rng_state(state)


class Run:
    """One run: a folder with metrics, a learning curve and a checkpoint, and a progress bar.

    In the folder: ``checkpoint/`` (the last complete iteration), ``metrics.csv`` (one row per step),
    ``learning_curve.png``, and what the logger writes.

    Args:
        directory: the run's folder.
        total_steps: environment steps at the end, for the progress bar.
        backend: of TorchRL's logger: ``"csv"``, ``"tensorboard"`` or ``"wandb"``.
        name: of the run.
        components: what a checkpoint holds (anything with a ``state_dict``).
        headline: metric of the learning curve.

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
    ) -> None:
        self.directory, self.name, self.headline = directory, name, headline
        self.progress: dict[str, float] = {"steps": 0, "iterations": 0, "seconds": 0.0}
        self.checkpoint = Checkpoint(rng=GlobalRNGState(), progress=self.progress, **components)
        self.metrics = get_logger("csv", str(directory), "logs")
        self.logger = None if backend in ("csv", "") else get_logger(backend, str(directory), name)
        self.bar = tqdm(total=total_steps, unit="step", desc=name, dynamic_ncols=True)
        self._since = time.monotonic()

    def restore(self) -> int:
        """Go on from the checkpoint: load every component, and forget metrics logged after it was written.

        Returns:
            The environment steps done.
        """
        self.checkpoint.load(self.directory / "checkpoint")
        steps = int(self.progress["steps"])
        forget_after(self.directory / "logs" / "scalars", steps)
        self.bar.update(steps)
        self._since = time.monotonic()
        return steps

    @property
    def iterations(self) -> int:
        """Iterations logged so far."""
        return int(self.progress["iterations"])

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def log(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an iteration that ended after ``steps`` environment steps."""
        now = time.monotonic()
        self.progress["seconds"] += now - self._since
        self._since = now
        self.progress["iterations"] += 1
        self.bar.update(steps - self.progress["steps"])
        self.progress["steps"] = steps
        for name, value in metrics.items():
            self.metrics.log_scalar(name, value, step=steps)
            if self.logger is not None:
                self.logger.log_scalar(name, value, step=steps)

    def show(self, **figures: float) -> None:
        """Show figures beside the progress bar."""
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()})

    def save(self) -> None:
        """Write the checkpoint, replacing the last one at once or not at all."""
        self.checkpoint.save(self.directory / "checkpoint")

    def draw(self) -> None:
        """Write the table of metrics and the learning curve."""
        table = read_scalars(self.directory / "logs" / "scalars")
        write_table(table, self.directory / "metrics.csv")
        plot_learning_curve(table, self.directory / "learning_curve.png", self.name, self.headline)

    def result(self, evaluation: Evaluation) -> str:
        """The run in one machine-readable line."""
        return (
            f"RESULT success={evaluation.success:.3f} episodes={evaluation.episodes} "
            f"env_steps={self.progress['steps']:.0f} seconds={self.progress['seconds']:.0f}"
        )
