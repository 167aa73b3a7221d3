"""Temporary folders that are removed also when their process is killed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX, _LOCK = "torchrl_htrpo_", ".lock"


class ScratchFolder:
    """A temporary folder; creating one removes those of killed processes.

    The owner holds a lock on a file in it, which the system releases when the process ends.

    Args:
        root: the parent folder. Default: the system's folder of temporary files.

    Example:
        >>> scratch = ScratchFolder()
        >>> scratch.path.is_dir()
        True
        >>> scratch.remove()
        >>> scratch.path.exists()
        False
    """

    def __init__(self, root: Path | None = None) -> None:
        root = root or Path(tempfile.gettempdir())
        remove_abandoned(root)
        # Lock it before it gets the name that other processes search for.
        draft = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=root))
        self._lock = FileLock(draft / _LOCK)
        self._lock.acquire(blocking=False)
        self.path = draft.rename(root / draft.name[1:])

    def remove(self) -> None:
        """Remove the folder and its content."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def remove_abandoned(root: Path) -> None:
    """Remove the scratch folders of this user whose process has ended.

    Args:
        root: where they are.
    """
    for folder in root.glob(f"{_PREFIX}*"):
        try:
            if not _is_scratch(folder):
                continue
            lock = FileLock(folder / _LOCK)
            lock.acquire(blocking=False)
        except (Timeout, OSError):  # in use, or removed by another process just now
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _is_scratch(folder: Path) -> bool:
    # lstat does not follow links.
    entry = folder.lstat()
    return stat.S_ISDIR(entry.st_mode) and entry.st_uid == os.getuid() and (folder / _LOCK).is_file()
