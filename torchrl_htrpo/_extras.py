"""Name the extra of a missing optional dependency."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: The extra that installs a module.
EXTRAS = {
    "ale_py": "atari",
    "gymnasium": "robotics",
    "gymnasium_robotics": "robotics",
    "moviepy": "video",
    "mujoco": "robotics",
    "mujoco_warp": "warp",
    "ray": "ray",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "warp": "warp",
}


@contextmanager
def named_extra(what: str) -> Iterator[None]:
    """If an import in the ``with`` statement fails, raise a ModuleNotFoundError that names the extra to install.

    Example:
        >>> with named_extra("MyEnv"):
        ...     raise ModuleNotFoundError("No module named 'ale_py'", name="ale_py")
        Traceback (most recent call last):
        ModuleNotFoundError: MyEnv needs ale_py: pip install 'torchrl-htrpo[atari]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        message = f"{what} needs {error.name}: pip install 'torchrl-htrpo[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from error
