"""Record the current operation of an environment in a file, to report it after its process has died."""

from __future__ import annotations

import faulthandler
import io
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from tensordict import TensorDictBase
from torchrl.envs import DoubleToFloat, EnvBase, GymWrapper, TransformedEnv

from torchrl_htrpo._errors import refusal
from torchrl_htrpo._extras import named_extra

_WORDS = (
    "nothing",
    "its construction",
    "the reset before episode {episode}",
    "step {step} of episode {episode}",
    "its close",
)


class EnvFailure(RuntimeError):  # noqa: N818  (what failed is an environment, and it may do so without any exception)
    """An environment or its process crashed, hung or raised; the message says which, in what step, and how."""


@dataclass(frozen=True)
class Record:
    """The last recorded operation of an environment."""

    index: int  # of the environment
    doing: str  # the operation, in words
    busy: bool  # whether the operation had not ended
    trace: str  # the traceback of the error, or of the call that hung; empty if unknown

    def sentence(self, how: str) -> str:
        """Describe the failure: the recorded error, or else ``how``."""
        main = self.trace.rpartition("\nThread ")[2].splitlines()  # faulthandler writes the main thread last
        if self.trace.startswith("Timeout"):
            return f"environment {self.index} took too long in {self.doing} and was stopped at\n" + "\n".join(main[1:9])
        if self.trace:
            return f"environment {self.index} raised {main[-1]} in {self.doing}\n{self.trace}"
        return f"environment {self.index} {how} in {self.doing}"


class Recorder:
    """Record the current operation of an environment: in a worker, in files that outlive the process.

    Args:
        folder: where the files are. None: in memory.
        index: of the environment.
        timeout: seconds for each operation, or None for no limit. A process that takes longer ends itself, by
            faulthandler, which works while other code holds the interpreter's lock.
    """

    def __init__(self, folder: Path | None, index: int, timeout: float | None) -> None:
        self.index, self.timeout, self.failed = index, timeout, False
        self.state: NDArray[np.int64] = np.zeros(3, np.int64)  # action, episode, step
        self.trace: TextIO = io.StringIO()
        if folder is not None:
            self.state.tofile(folder / f"{index}.state")
            self.state = np.memmap(folder / f"{index}.state", np.int64, "r+", shape=(3,))
            self.trace = (folder / f"{index}.trace").open("w")

    @staticmethod
    def read(folder: Path, index: int) -> Record:
        """Read the last recorded operation of an environment."""
        if not (folder / f"{index}.trace").exists():
            return Record(index, _WORDS[0], busy=False, trace="")
        action, episode, step = np.fromfile(folder / f"{index}.state", np.int64).tolist()
        words = _WORDS[action].format(episode=episode, step=step)
        return Record(index, words, action > 0, (folder / f"{index}.trace").read_text().strip())

    @contextmanager
    def during(self, action: int) -> Iterator[None]:
        """Record the begin of an operation, and its end or its error."""
        if not self.failed:  # a worker that failed closes its environments: that must not replace the record
            self.state[0] = action
        if self.timeout is not None:
            faulthandler.dump_traceback_later(self.timeout, exit=True, file=self.trace)
        try:
            yield
        except BaseException as error:
            first, self.failed = not self.failed, True
            if not isinstance(error, Exception):
                raise
            if first:
                self.trace.write(traceback.format_exc())
                self.trace.flush()
            doing = _WORDS[action].format(episode=self.state[1], step=self.state[2])
            raise EnvFailure(f"environment {self.index} raised {_shown(error)} in {doing}") from error
        finally:
            if self.timeout is not None:
                faulthandler.cancel_dump_traceback_later()
        if not self.failed:
            self.state[0] = 0


class RecordedEnv(TransformedEnv):
    """Wrap an environment: record its operations, convert to float32, and seed each episode."""

    def __init__(self, env: EnvBase, recorder: Recorder) -> None:
        super().__init__(env, DoubleToFloat())
        self.__dict__["recorder"] = recorder

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self.recorder.state[2] += 1
        with self.recorder.during(3):
            return super()._step(tensordict)

    def _reset(
        self, tensordict: TensorDictBase | None = None, *, seed: int | None = None, **kwargs: Any
    ) -> TensorDictBase:
        self.recorder.state[1:] = self.recorder.state[1] + 1, 0
        with self.recorder.during(2):
            if seed is not None and isinstance(_innermost(self), GymWrapper):
                kwargs["seed"] = seed  # as in gymnasium: reset(seed=) both seeds and resets
            elif seed is not None:
                self.base_env.set_seed(seed)
            return super()._reset(tensordict, **kwargs)

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the environment."""
        with self.recorder.during(4):
            super().close(raise_if_closed=raise_if_closed)


def build(make: Callable[[], Any], folder: Path | None, index: int, timeout: float | None) -> EnvBase:
    """Create an environment in the process that will run it, with a :class:`Recorder`."""
    recorder = Recorder(folder, index, timeout)
    with recorder.during(1):
        return RecordedEnv(to_torchrl(make()), recorder)


def to_torchrl(env: Any, info_keys: Sequence[str] = ()) -> EnvBase:
    """Wrap a gymnasium environment, with entries of its ``info``; return a TorchRL environment unchanged."""
    if isinstance(env, EnvBase):
        if info_keys:
            expected = "none with an environment of TorchRL (make the gymnasium one: info_keys wraps it)"
            raise ValueError(refusal("make_goal_env", "info_keys", expected, list(info_keys)))
        return env
    with named_extra("an environment that is not TorchRL's"):  # gymnasium is an optional dependency
        from torchrl_htrpo.envs.adapters.gymnasium_env import from_gymnasium  # noqa: PLC0415

    return from_gymnasium(env, info_keys)


def _shown(error: Exception) -> str:
    try:
        return repr(error)
    except Exception:  # its own __repr__ may raise anything
        return f"{type(error).__name__} (which cannot be printed)"


def _innermost(env: EnvBase) -> EnvBase:
    while isinstance(env, TransformedEnv):
        env = env.base_env
    return env
