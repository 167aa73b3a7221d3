"""A folder of JSON files runs code in ``tensordict.load`` (tensordict 0.14.3).

Expected: ``tensordict.load(folder, allow_pickle=False)`` reads data and runs nothing.
Seen: ``meta.json`` may name ``_UnsqueezedTensorDict`` with any method as ``custom_op``. On the first access to an entry
that is a tensordict, this method is called on it with any keyword arguments: ``load_memmap`` with ``allow_pickle=True``
on an archive, which may have any suffix, unpickles what the archive holds.
Remedy: accept only the names of the operations that tensordict itself writes as ``custom_op``.

    python docs/upstream/tensordict_custom_op.py
"""

from __future__ import annotations

import json
import pickle
import tempfile
import warnings
import zipfile
from pathlib import Path

import tensordict
from tensordict import TensorDict


class Touch:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        """Call ``Path.touch`` in place of a constructor."""
        return Path.touch, (self.path,)


def write(folder: Path, touched: Path) -> None:
    """Write files that touch ``touched`` when they are read; none has a suspicious name."""
    TensorDict(entry=TensorDict()).memmap(folder / "_source")
    operation = {"custom_op": "load_memmap", "inv_op": "load_memmap", "inv_op_kwargs": {}}
    keywords = {"custom_op_kwargs": {"prefix": str(folder / "archive.json"), "allow_pickle": True}}
    kind = {"_type": "<class 'tensordict._lazy._UnsqueezedTensorDict'>", "shape": [], "device": "None"}
    (folder / "meta.json").write_text(json.dumps(kind | operation | keywords))
    with zipfile.ZipFile(folder / "archive.json", "w") as archive:
        archive.writestr("meta.json", json.dumps({"_type": "<class 'tensordict.tensorclass.NonTensorData'>"}))
        archive.writestr("other.pickle", pickle.dumps(Touch(touched)))


def runs(folder: Path) -> bool:
    """Whether reading the files ran what they hold."""
    touched = folder / "touched"
    write(folder / "saved", touched)
    loaded = tensordict.load(folder / "saved", allow_pickle=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded["entry"]
        except Exception:
            return touched.exists()
    return touched.exists()


if __name__ == "__main__":
    print("ran code" if runs(Path(tempfile.mkdtemp())) else "ran nothing")
