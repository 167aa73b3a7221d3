"""Lock the folder of a run for one process."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from torchrl_htrpo._errors import refusal


class FolderLock:
    """Lock an existing folder for this process; the system releases the lock when the process ends."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.path = directory, directory / ".lock"
        self._lock = FileLock(self.path)
        self._file: os.stat_result | None = None

    def acquire(self) -> None:
        """Lock the folder.

        Raises:
            RuntimeError: naming the process that has locked it already.
            OSError: if files cannot be locked there.
        """
        try:
            self._acquire()
        except OSError as error:
            hint = "the run's folder must be on a disk where this user can write and lock files"
            raise OSError(error.errno, f"Run: cannot lock {self.path}: {error.strerror or error}; {hint}") from error

    def require(self) -> None:
        """Raise a RuntimeError unless the lock is still that of this folder: another process may have it otherwise."""
        try:
            kept = self._file is None or os.path.samestat(self.path.stat(), self._file)
        except FileNotFoundError:
            kept = False
        if not kept:
            raise RuntimeError(f"Run: {self.path} was removed or replaced while the run was using the folder")

    def _acquire(self) -> None:
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            expected = "used by one process at a time"
            holder = self.path.read_text() or "another process"
            raise RuntimeError(f"{refusal('Run', 'directory', expected, str(self.directory))} ({holder})") from error
        self._file = self.path.stat()
        if isinstance(self._lock, SoftFileLock):
            return  # without flock, the existence of the file is the lock, and filelock writes the file
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.path.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}")

    def release(self) -> None:
        """Release the lock, if this object holds it. The file stays, as in filelock."""
        self._file = None
        if self._lock.is_locked:
            self._lock.release()


def in_use(directory: Path) -> bool:
    """Whether a process has locked a folder."""
    lock = FolderLock(directory)
    if not lock.path.exists():
        return False
    try:
        lock.acquire()
    except (RuntimeError, OSError):
        return True
    lock.release()
    return False
