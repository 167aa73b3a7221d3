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

    def acquire(self) -> None:
        """Lock the folder; raise a RuntimeError that names the process that has locked it already."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            expected = "used by one process at a time"
            holder = self.path.read_text() or "another process"
            raise RuntimeError(f"{refusal('Run', 'directory', expected, str(self.directory))} ({holder})") from error
        if isinstance(self._lock, SoftFileLock):
            return  # without flock, the existence of the file is the lock, and filelock writes the file
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.path.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}")

    def release(self) -> None:
        """Release the lock, if this object holds it. The file stays, as in filelock."""
        if self._lock.is_locked:
            self._lock.release()
