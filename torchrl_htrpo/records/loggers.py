"""TorchRL's loggers: create them, refuse those that cannot work, log videos."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from torch import Tensor
from torchrl.record.loggers import Logger, get_logger

from torchrl_htrpo._errors import choice
from torchrl_htrpo._extras import named_extra

BACKENDS = ("csv", "tensorboard", "wandb")


def check_backend(owner: object, backend: str, *, video: bool = False) -> None:
    """Raise if a logger is unknown (ValueError) or needs a package that is not installed (ModuleNotFoundError)."""
    choice(owner, "logger", backend, BACKENDS)
    if backend != "csv":
        with named_extra(f"logger={backend}" + (" with gif=true" if video else "")):
            for module in (backend, *(["moviepy.editor"] if video else [])):
                import_module(module)


def make_loggers(directory: Path, name: str, backend: str) -> list[Logger]:
    """Create the CSV logger of a run in its folder, and after it the one of another backend."""
    others = [get_logger(backend, str(directory), name)] if backend != "csv" else []
    return [get_logger("csv", str(directory), "logs"), *others]


def log_video(loggers: Sequence[Logger], name: str, frames: Tensor, step: int, fps: float) -> None:
    """Log a video ``[T, 3, H, W]`` of bytes with all but the first logger: the CSV logger shows no videos."""
    for logger in loggers[1:]:
        kind = {"format": "gif"} if type(logger).__name__ == "WandbLogger" else {}  # others write GIFs anyway
        logger.log_video(name, frames.unsqueeze(0), step=step, fps=fps, **kind)
