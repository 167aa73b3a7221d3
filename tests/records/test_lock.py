"""One process in a folder: a second one is refused, and the lock of a dead one is released."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from torchrl_htrpo.records.lock import FolderLock

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
