"""A scratch folder is removed by its owner, or when the next one is made."""

from __future__ import annotations

import subprocess
import sys

from torchrl_htrpo.envs.adapters.scratch import ScratchFolder, remove_abandoned

HOLD = """
import sys, time
from pathlib import Path
from torchrl_htrpo.envs.adapters.scratch import ScratchFolder
folder = ScratchFolder(Path(sys.argv[1]))
(folder.path / "0.state").write_bytes(bytes(24))
print(folder.path.name, flush=True)
time.sleep(60)
"""


def test_the_folder_of_a_killed_process_is_removed_when_the_next_one_is_made(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        held = tmp_path / process.stdout.readline().strip()
        own = ScratchFolder(tmp_path)
        assert held.is_dir() and own.path.is_dir() and held != own.path
        process.kill()
        process.wait()
    other = ScratchFolder(tmp_path)
    assert set(tmp_path.iterdir()) == {own.path, other.path}


def test_a_folder_that_is_removed_leaves_nothing_and_may_be_removed_twice(tmp_path):
    folder = ScratchFolder(tmp_path)
    (folder.path / "inner").mkdir()
    folder.remove()
    folder.remove()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_process_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    gone = tmp_path / "torchrl_htrpo_gone"
    monkeypatch.setattr(type(tmp_path), "glob", lambda root, pattern: iter([gone]))
    remove_abandoned(tmp_path)


def test_folders_of_others_are_kept(tmp_path):
    (tmp_path / "torchrl_htrpo_results").mkdir()  # without a lock
    (tmp_path / "torchrl_htrpo_file").write_text("")
    (tmp_path / "torchrl_htrpo_link").symlink_to(tmp_path)
    before = set(tmp_path.iterdir())
    remove_abandoned(tmp_path)
    assert set(tmp_path.iterdir()) == before
