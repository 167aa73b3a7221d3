"""Archive unfinished runs, so that another machine can resume them bit for bit."""

from __future__ import annotations

import lzma
import shutil
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.records.checkpoints import intact_checkpoint, stored_checkpoints
from torchrl_htrpo.records.disk import replace_file

LIMIT = 3 * 2**20  # bytes
# Literal bits for 4-byte numbers: a tenth smaller than the default on float32.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 2, "pb": 2}]


def keep_run(folder: Path, archive: Path) -> str | None:
    """Write the newest checkpoint, the metrics and the record of a run into an archive.

    Args:
        folder: of the run.
        archive: the file, ``.tar.xz``.

    Returns:
        Why it was not written, if so.
    """
    if not stored_checkpoints(folder):
        return "there is no checkpoint yet"
    try:
        data = _pack(folder, intact_checkpoint(folder))
    except FileNotFoundError:  # the run replaced the checkpoint meanwhile
        return "the run is saving"
    if len(data) > LIMIT:
        return f"{len(data) / 2**20:.1f} MB are more than {LIMIT / 2**20:.0f}"
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        replace_file(archive, data)
    except OSError as error:  # a full disk there must not stop the runs
        return str(error)
    return None


def restore_run(archive: Path, folder: Path) -> bool:
    """Unpack a kept run, unless the folder has a checkpoint that is as new.

    Args:
        archive: as :func:`keep_run` wrote it.
        folder: of the run.

    Returns:
        Whether it was unpacked.

    Raises:
        ValueError: if the archive is damaged.
    """
    if not archive.exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".restored-") as place:
        draft = Path(place)
        try:
            with tarfile.open(archive, "r:xz") as files:
                files.extractall(draft, filter="data")
            kept = intact_checkpoint(draft)
        except (tarfile.TarError, lzma.LZMAError, EOFError, FileNotFoundError, ValueError) as error:
            expected = "an archive as it was written (remove it to start the run again)"
            raise ValueError(refusal("restore_run", str(archive), expected, repr(error))) from error
        if any(path.name >= kept.name for path in stored_checkpoints(folder)):
            return False
        _move(draft / "logs", folder / "logs")
        (draft / "run.json").replace(folder / "run.json")
        # The checkpoint comes last: without it, a restore that was cut short is done again.
        (folder / "checkpoints").mkdir(exist_ok=True)
        kept.rename(folder / "checkpoints" / kept.name)
    return True


def _move(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)


def _pack(folder: Path, checkpoint: Path) -> bytes:
    plain = BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as files:
        for path in (checkpoint, folder / "logs" / "scalars", folder / "run.json"):
            files.add(path, path.relative_to(folder).as_posix(), filter=_without_owner)
    return lzma.compress(plain.getvalue(), filters=FILTERS)


def _without_owner(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove owner and time, so that the same run gives the same bytes."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info
