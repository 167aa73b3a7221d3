"""Run environments in TorchRL's worker processes, name the one that failed, and leave no process behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any, Literal

import torch
from torchrl import torchrl_logger
from torchrl.envs import EnvBase, ParallelEnv, SerialEnv

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.envs.adapters.recorder import EnvFailure, Recorder, build

StartMethod = Literal["spawn", "forkserver", "fork"]
Maker = Callable[[], Any]
_ENDED = "ended its process"
_GONE = (RuntimeError, OSError, EOFError)  # raised by TorchRL when a worker died or is late
_START = 300.0  # seconds that a new process gets to import what it needs
_GRACE = 5.0  # seconds that a worker gets to report its own timeout, or to end


def group(makers: list[Maker], first: int = 0, folder: Path | None = None, timeout: float | None = None) -> EnvBase:
    """Create environments that are stepped one after another; raise a ValueError if their specs differ.

    Args:
        makers: of these environments.
        first: index of the first one among all.
        folder: of the records. Default: none are kept.
        timeout: seconds for each operation of an environment. Default: no limit.
    """
    try:
        builders = [partial(build, make, folder, index, timeout) for index, make in enumerate(makers, first)]
        env = SerialEnv(len(makers), builders)
        if env.is_closed:
            env.start()  # raise now if an environment cannot be created
        differs = [key[-1] for key, leaf in env.specs.items(True, True) if -1 in leaf.shape]
    except EnvFailure:
        raise
    except (RuntimeError, NotImplementedError) as error:  # raised by TorchRL when it cannot stack specs
        raise ValueError(_unlike(error)) from error
    if differs:
        raise ValueError(_unlike(f"different shapes of {differs}"))
    return env


def _work(makers: list[Maker], size: int, folder: Path, timeout: float, *, worker: int) -> EnvBase:
    """Create the environments of this worker, in a session of its own that ends when the parent process ends."""
    os.setsid()  # so that the programs that environments start can be ended with this process
    _end_with_parent(folder)
    first = worker * size
    return group(makers[first : first + size], first, folder, timeout)


def _unlike(what: object) -> str:
    return refusal("EnvBatch", "makers", "functions that make environments of the same specs", str(what))


class WorkerPool:
    """Environments in worker processes: ``[workers, environments of each]``.

    Args:
        makers: of all environments.
        workers: processes.
        timeout: seconds for each operation of an environment.
        start_method: of the processes.

    Raises:
        ValueError: if the environments differ in shape.
        EnvFailure: if an environment cannot be made.
    """

    def __init__(self, makers: list[Maker], workers: int, timeout: float, start_method: StartMethod) -> None:
        self.workers, self.size, self.processes = workers, len(makers) // workers, []
        self.folder = Path(tempfile.mkdtemp(prefix="torchrl_htrpo_"))  # of the records
        self._remove_folder = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        try:
            # Read metadata in the workers: an environment that crashes must not do so in this process.
            self.env = _Workers(
                workers,
                partial(_work, makers, self.size, self.folder, timeout),
                limit=self.size * timeout + _GRACE,
                create_env_kwargs=[{"worker": worker} for worker in range(workers)],
                metadata_from_workers=True,
                use_buffers=False,
                mp_start_method=start_method,
                num_threads=torch.get_num_threads(),  # otherwise TorchRL reduces the threads of this process
                daemon=True,
            )
        except _GONE as error:
            said = self._blame({}, "did not answer in time" if isinstance(error, TimeoutError) else _ENDED)
            self._remove_folder()
            if not said and "incompatible" in str(error):
                raise ValueError(_unlike(error)) from error
            raise EnvFailure(said or f"a worker ended: {error}") from error
        self.processes = list(self.env._workers)
        self._forgotten = weakref.finalize(self, _kill, self.processes)  # if close() is never called

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the environments.

        Raises:
            EnvFailure: if one of them or its process failed; all processes are gone then.
        """
        try:
            return getattr(self.env, method)(*args, **kwargs)
        except _GONE as error:
            late = str(error).startswith("Failed to run all workers")
            if not (late or self._any_ended()):
                raise
            codes = {worker: process.exitcode for worker, process in enumerate(self.processes)}
            _kill(self.processes)
            self._close()
            ended = codes if late else {worker: code for worker, code in codes.items() if code is not None}
            said = self._blame(ended) or f"a worker ended: {error}"
            self._remove_folder()
            raise EnvFailure(said) from error

    def _any_ended(self) -> bool:
        ended = connection.wait([process.sentinel for process in self.processes], timeout=1.0)
        for process in self.processes:
            if process.sentinel in ended:
                process.join(_GRACE)  # sets its exit code
        return bool(ended)

    def _blame(self, codes: dict[int, int | None], unknown: str = _ENDED) -> str:
        """Describe which environments failed and how; search all workers unless some are known to have ended."""
        said = []
        for worker in codes or range(self.workers):
            mine = range(worker * self.size, (worker + 1) * self.size)
            how = "did not answer in time" if worker in codes else unknown
            if codes.get(worker) is not None:
                how = f"{_ENDED} (exit code {codes[worker]})"
            busy = [record for index in mine if (record := Recorder.read(self.folder, index)).busy]
            said += [record.sentence(how) for record in busy]
            if not busy and worker in codes:
                said.append(f"worker {worker} (environments {mine[0]} to {mine[-1]}) {how}")
        return "; ".join(said)

    def close(self) -> None:
        """Close the environments and end the processes; warn about those that fail or take too long to close."""
        if self.env.is_closed:  # after a failure, which was reported
            return
        self._close()
        failed = {worker: process.exitcode for worker, process in enumerate(self.processes) if process.exitcode}
        codes = {worker: None if code == -signal.SIGKILL else code for worker, code in failed.items()}  # by us
        if codes:
            torchrl_logger.warning(f"EnvBatch: an environment failed to close: {self._blame(codes)}")
        self._remove_folder()

    def _close(self) -> None:
        threads = torch.get_num_threads()
        self.env.close(raise_if_closed=False)
        torch.set_num_threads(threads)  # TorchRL restores the number of threads that it reduced
        self._forgotten.detach()  # the numbers of ended processes may be given to others


class _Workers(ParallelEnv):
    """TorchRL's environments in processes, with a limit for every wait."""

    parent_channels: list[Any]
    _workers: list[Any]

    def __init__(self, *args: Any, limit: float, **kwargs: Any) -> None:
        self.__dict__["limit"] = limit
        super().__init__(*args, **kwargs)
        # Late workers end themselves; this ends those that cannot (stopped, swapped out).
        self.BATCHED_PIPE_TIMEOUT = limit

    def _receive_worker_metadata(self) -> list[Any]:
        self.BATCHED_PIPE_TIMEOUT = self.limit + _START
        return super()._receive_worker_metadata()

    def _cleanup_failed_worker_startup(self) -> None:
        _kill(self._workers)  # do not ask them to close: that may take as long as an environment likes
        super()._cleanup_failed_worker_startup()

    def _shutdown_workers(self) -> None:
        """Ask all workers at once to close, and end those that do not."""
        for channel in self.parent_channels:
            with suppress(OSError):  # it has ended already
                channel.send(("close", None))
        until = time.monotonic() + self.limit
        for process in self._workers:
            process.join(max(0.0, until - time.monotonic()))
        _kill(self._workers)
        for channel in self.parent_channels:
            channel.close()
        self.parent_channels, self._workers, self._events = [], [], None


def _kill(processes: list[Any]) -> None:
    """End processes, and the programs that their environments started."""
    for process in processes:
        with suppress(ProcessLookupError):  # nothing is left, or the process has not yet begun its session
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    for process in processes:
        process.join(_GRACE)


def _end_with_parent(folder: Path) -> None:
    """When the parent process ends for any reason, remove its folder and end this session."""

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
