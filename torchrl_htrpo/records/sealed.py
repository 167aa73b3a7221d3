"""Checkpoints with the size and SHA-256 of every file, flushed to the disk before they appear."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from torchrl.checkpoint import Checkpoint, CheckpointLoadResult

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.records.disk import name_full_disk, sync, sync_tree, write_file
from torchrl_htrpo.records.state_adapter import StateAdapter

SEAL = "checksums.json"


class DamagedCheckpoint(ValueError):  # noqa: N818  (the checkpoint is what is wrong)
    """A file of a checkpoint is missing, truncated or changed, or the checkpoint has another format."""


class SealedCheckpoint(Checkpoint):
    """TorchRL's checkpoint in a format without executable content, with checksums of every file.

    ``checksums.json`` holds size and SHA-256 of every other file. It detects damage, not forgery: a forger can change
    the files and their checksums, so the numbers, but files are never executed.

    Args:
        **components: what it holds: anything with ``state_dict`` and ``load_state_dict``, or dicts that JSON knows.

    Example:
        >>> import tempfile, torch
        >>> net, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        >>> folder = SealedCheckpoint(net=net).save(tempfile.mkdtemp() + "/saved")
        >>> SealedCheckpoint(net=other).load(folder).loaded, torch.equal(net.weight, other.weight)
        ({'net'}, True)
        >>> _ = (folder / "manifest.json").write_text("{}")
        >>> SealedCheckpoint(net=other).load(folder)
        Traceback (most recent call last):
        torchrl_htrpo.records.sealed.DamagedCheckpoint: checkpoint saved: manifest.json has 2 bytes, not ...
    """

    def __init__(self, **components: Any) -> None:
        super().__init__()
        for name, component in components.items():
            self.register(name, component, adapter=None if isinstance(component, dict) else StateAdapter())

    def save(self, path: str | Path, **kwargs: Any) -> Path:
        """Write a checkpoint atomically, as ``Checkpoint.save``; a full disk raises an OSError and leaves nothing."""
        final = Path(path)
        draft = final.with_name(f".{final.name}.draft")
        try:
            with name_full_disk(final.parent):
                super().save(draft, **kwargs)
                _seal(draft)
            if final.exists():
                shutil.rmtree(final)
            draft.rename(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        sync(final.parent)
        return final

    def load(self, path: str | Path, **kwargs: Any) -> CheckpointLoadResult:
        """Load a checkpoint, as ``Checkpoint.load``, after :func:`check_seal` has verified every file."""
        check_seal(Path(path))
        return super().load(path, **kwargs)


def check_seal(folder: Path) -> None:
    """Verify size and SHA-256 of every file of a checkpoint; ignore other files.

    Raise a DamagedCheckpoint that names the first file that is missing, cut or changed.
    """
    name = f"checkpoint {folder.name}"
    if not (folder / SEAL).is_file():
        expected = (
            "a checkpoint of this version's format (older formats are not read: use their version, or train again)"
        )
        raise DamagedCheckpoint(refusal("Run", name, expected, f"a folder without {SEAL}"))
    for file, (size, digest) in _read_seal(folder).items():
        path = folder / file
        if path.is_symlink() or not path.is_file():
            raise DamagedCheckpoint(f"{name}: {file} is missing")
        if path.stat().st_size != size:
            raise DamagedCheckpoint(f"{name}: {file} has {path.stat().st_size} bytes, not {size}")
        if _digest(path) != digest:
            raise DamagedCheckpoint(f"{name}: {file} was changed: its SHA-256 is not the one in {SEAL}")


def _read_seal(folder: Path) -> dict[str, tuple[int, str]]:
    try:
        files = json.loads((folder / SEAL).read_bytes())["files"]
        found = {str(file): (int(entry["size"]), str(entry["sha256"])) for file, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"checkpoint {folder.name}: {SEAL} cannot be read: {error!r}") from error
    outside = [file for file in found if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts]
    if outside or "manifest.json" not in found:
        expected = "of the manifest and other files of the checkpoint"
        raise DamagedCheckpoint(refusal("Run", SEAL, expected, outside or sorted(found)))
    return found


def _seal(folder: Path) -> None:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    entries: Mapping[str, Any] = {
        file.relative_to(folder).as_posix(): {"size": file.stat().st_size, "sha256": _digest(file)} for file in files
    }
    write_file(folder / SEAL, json.dumps({"files": entries}, indent=2).encode())
    sync_tree(folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
