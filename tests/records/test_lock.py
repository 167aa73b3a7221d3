"""One process in a folder: a second one is refused, and the lock of a dead one is released."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from torchrl_htrpo.records.lock import FolderLock, in_use

HOLD = """
import sys, time
from pathlib import Path
from torchrl_htrpo.records.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_with_the_id_of_the_first(holder, tmp_path):
    with pytest.raises(RuntimeError, match=rf"used by one process at a time.*process {holder.pid} on"):
        FolderLock(tmp_path).acquire()


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert f"process {os.getpid()} on" in lock.path.read_text()
    lock.release()


def test_a_released_folder_is_free_and_releasing_twice_is_harmless(tmp_path):
    one, other = FolderLock(tmp_path), FolderLock(tmp_path)
    one.acquire()
    one.release()
    one.release()
    other.acquire()
    one.release()  # not its own
    with pytest.raises(RuntimeError):
        one.acquire()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_lock_that_was_removed_or_replaced_is_noticed(replaced, tmp_path):
    lock, other = FolderLock(tmp_path), FolderLock(tmp_path)
    lock.acquire()
    lock.require()
    lock.path.unlink()
    if replaced:
        other.acquire()
    with pytest.raises(RuntimeError, match=r"\.lock was removed or replaced"):
        lock.require()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO, errno.EROFS])
def test_a_disk_that_cannot_lock_is_named(number, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fails)
    with pytest.raises(OSError, match=rf"cannot lock {tmp_path}/\.lock: {os.strerror(number)}; the run's folder must"):
        FolderLock(tmp_path).acquire()


def test_the_id_of_another_program_in_the_lock_file_does_not_keep_a_run_out(tmp_path):
    (tmp_path / ".lock").write_text(f"process {os.getppid()} on this machine")  # it died; its number was reused
    assert not in_use(tmp_path)
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert in_use(tmp_path)
