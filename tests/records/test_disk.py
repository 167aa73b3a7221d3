"""Files are replaced atomically, and the error of a full disk names the folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchrl_htrpo.records.disk import name_full_disk, replace_file, write_file

FILL = """
import sys
from pathlib import Path
from torchrl_htrpo.records.disk import write_file
try:
    write_file(Path(sys.argv[1]) / "file", bytes(1 << 20))
except OSError as error:
    print(error)
"""


def test_a_file_is_replaced_and_no_draft_stays(tmp_path):
    for content in (b"one", b"two"):
        assert replace_file(tmp_path / "file", content).read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_draft_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    replace_file(tmp_path / "file", b"one")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"no room: 3 bytes for {tmp_path} \(\d+ bytes free\): No space left"):
        replace_file(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"


def test_other_errors_are_unchanged_and_the_folder_is_named_once(tmp_path):
    with pytest.raises(PermissionError, match="^$"), name_full_disk(tmp_path):
        raise PermissionError
    with pytest.raises(OSError, match="no room") as told, name_full_disk(tmp_path), name_full_disk(tmp_path / "inner"):
        raise OSError(errno.ENOSPC, "full")
    assert str(told.value).count("no room") == 1 and "inner" in str(told.value)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO])
def test_the_folder_is_named_where_a_failing_disk_names_no_file(number, tmp_path):
    with pytest.raises(OSError, match=rf"cannot write: {tmp_path} .*{os.strerror(number)}"), name_full_disk(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_full_file_system_is_an_error_with_a_message(tmp_path):
    """On a file system of 64 KiB, in a namespace of its own."""
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path} && exec {sys.executable} -c '{FILL}' {tmp_path}"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert f"no room: 1048576 bytes for {tmp_path}" in done.stdout


def test_a_written_file_has_its_content(tmp_path: Path):
    assert write_file(tmp_path / "file", b"data").read_bytes() == b"data"
