"""Manage the checkpoints of a run: keep, verify, compare, remove."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl import torchrl_logger
from torchrl.checkpoint import Checkpoint, CheckpointRotation
from torchrl.data import ReplayBuffer
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.records.sealed import DamagedCheckpoint, SealedCheckpoint, check_seal


class EnvRandomness:
    """Save and restore the random state of an environment, which determines its next starts and goals.

    For environments with ``rng_state`` and ``set_rng_state``; others start with new episodes after a resume.

    Args:
        env: the environment.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> list(EnvRandomness(BitFlipEnv(4)).state_dict())
        ['generator']
    """

    def __init__(self, env: EnvBase) -> None:
        self.env = env

    def state_dict(self) -> dict[str, Tensor]:
        """Get the state."""
        return self.env.rng_state() if hasattr(self.env, "rng_state") else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state."""
        if hasattr(self.env, "set_rng_state"):
            self.env.set_rng_state(state)


class StoredItems:
    """Save and restore the items of a replay buffer, without the unused part of its storage.

    TorchRL's own dump of a buffer writes the full storage and a pickle.

    Args:
        buffer: a buffer on a tensor storage, whose writer overwrites the oldest items.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from torchrl.data import LazyTensorStorage, ReplayBuffer
        >>> buffer, other = (ReplayBuffer(storage=LazyTensorStorage(4)) for _ in range(2))
        >>> index = buffer.extend(TensorDict(x=torch.arange(6), batch_size=[6]))
        >>> StoredItems(other).load_state_dict(StoredItems(buffer).state_dict())
        >>> other.storage[:]["x"]
        tensor([4, 5, 2, 3])
    """

    def __init__(self, buffer: ReplayBuffer) -> None:
        self.buffer = buffer

    def state_dict(self) -> dict[str, Any]:
        """Get the items and the position of the next one."""
        if not len(self.buffer):
            return {}
        return state_of(self.buffer.storage[: len(self.buffer)], self.buffer.writer.state_dict()["_cursor"])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the items."""
        self.buffer.empty()
        if state:
            self.buffer.extend(items_of(state))
            if len(self.buffer) == self.buffer.storage.max_size:  # otherwise the next item follows the last one
                self.buffer.writer.load_state_dict({"_cursor": int(state["cursor"])})


def state_of(items: TensorDictBase, cursor: int) -> dict[str, Any]:
    """The state of a buffer with these items, whose next one goes to the position ``cursor``."""
    sizes = {"batch_size": torch.tensor(items.batch_size), "cursor": torch.tensor(cursor)}
    return {"items": _sorted(items.to_dict()), **sizes}  # TorchRL's order of keys differs from process to process


def items_of(state: Mapping[str, Any]) -> TensorDict:
    """The items in the state of a buffer; raise a ValueError if it is none."""
    if "items" not in state:
        expected = "that of a buffer (older formats are not read: use their version, or train again)"
        raise ValueError(refusal("StoredItems", "state", expected, f"entries {sorted(state)}"))
    return TensorDict(state["items"], batch_size=state["batch_size"].tolist())


def checkpoints_of(directory: Path) -> CheckpointRotation:
    """Create the checkpoint rotation of a run's folder: keep the last two, and the one of the best evaluated policy."""
    return CheckpointRotation(directory / "checkpoints", keep_last=2, keep_best=("success", "max"))


def stored_checkpoints(directory: Path) -> list[Path]:
    """List the checkpoint folders in a run's folder, oldest first, damaged ones included."""
    found = [path for path in (directory / "checkpoints").glob("checkpoint-*") if path.is_dir()]
    return sorted(path for path in found if not path.is_symlink() and path.name.partition("-")[2].isdigit())


def intact_checkpoint(directory: Path, *, best: bool = False) -> Path:
    """Find the newest intact checkpoint of a run, or the one of the best evaluated policy; warn about damaged ones.

    Raises:
        FileNotFoundError: if the run has no checkpoint.
        DamagedCheckpoint: if all checkpoints are damaged; the message describes the damage of each.
    """
    damages: dict[Path, str] = {}
    for path in stored_checkpoints(directory):
        try:
            check_seal(path)
        except (DamagedCheckpoint, FileNotFoundError) as error:
            damages[path] = str(error)
    damages = {path: damage for path, damage in damages.items() if path.is_dir()}  # a running run removes old ones
    intact = [path for path in stored_checkpoints(directory) if path not in damages]
    if not intact and damages:
        raise DamagedCheckpoint("; ".join(damages.values()))
    if not intact:
        expected = "the folder of a run with at least one complete iteration"
        raise FileNotFoundError(refusal("Run", "directory", expected, str(directory)))
    for damage in damages.values():
        torchrl_logger.warning(f"Run: {damage}; it is skipped")
    return max(intact, key=_success) if best else intact[-1]


def load_intact(
    checkpoint: SealedCheckpoint,
    directory: Path,
    *,
    best: bool = False,
    accept: Callable[[Path], None] = lambda path: None,
) -> Path:
    """Load what :func:`intact_checkpoint` finds, also while the run is saving and removing checkpoints.

    Args:
        checkpoint: the components to load into.
        directory: the run's folder.
        best: the checkpoint of the best evaluated policy; otherwise the newest.
        accept: called with the folder of the checkpoint before it is loaded; raises to refuse it.

    Returns:
        The folder of the checkpoint.

    Raises:
        FileNotFoundError: if the run has no checkpoint.
        DamagedCheckpoint: if all checkpoints are damaged.
    """
    while True:
        path = intact_checkpoint(directory, best=best)
        try:
            accept(path)
            checkpoint.load(path)
            return path
        except (FileNotFoundError, DamagedCheckpoint):
            if path.is_dir():
                raise


def set_damaged_aside(directory: Path) -> None:
    """Rename damaged checkpoints to ``damaged-...``, so that none of them counts as the newest or the best."""
    for path in stored_checkpoints(directory):
        try:
            check_seal(path)
        except DamagedCheckpoint:
            aside = path.with_name(path.name.replace("checkpoint", "damaged"))
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """List the differences of two nested configurations.

    Example:
        >>> differences({"gamma": 0.98, "critic": {"lr": 0.1}}, {"gamma": 0.9, "critic": {"lr": 0.1}})
        ['gamma: 0.98 there, 0.9 here']
    """
    old, new = _flat(there), _flat(here)
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key, "nothing") != new.get(key, "nothing")]
    return [f"{key}: {old.get(key, 'nothing')!r} there, {new.get(key, 'nothing')!r} here" for key in keys]


def refuse_differences(path: Path, here: Mapping[str, Any]) -> None:
    """Raise a ValueError with the differences if a checkpoint has another configuration or other versions."""
    metadata = Checkpoint.manifest(path)["metadata"]
    there = {key: metadata.get(key, {}) for key in here}
    if found := differences(there, here):
        expected = "of the same configuration and versions"
        raise ValueError(refusal("Run", f"checkpoint {path.name}", expected, "; ".join(found)))


OF_A_PROCESS = frozenset({"env", "rng"})  # components whose state belongs to a process: random states


def load_newest(checkpoint: SealedCheckpoint, directory: Path, here: Mapping[str, Any], processes: int) -> bool:
    """Load the newest intact checkpoint of a run; return whether it was saved by as many processes.

    From another number of processes, load all but what belongs to one process.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        DamagedCheckpoint: if none is intact.
        ValueError: if it has another configuration or other versions than ``here``.
    """
    path = intact_checkpoint(directory)
    refuse_differences(path, here)
    there = Checkpoint.manifest(path)["metadata"].get("processes", 1)
    if there == processes:
        checkpoint.load(path)
        return True
    checkpoint.load(path, components=checkpoint.components.keys() - OF_A_PROCESS)
    torchrl_logger.warning(
        f"Run: {processes} processes continue a run of {there}: the random numbers, so the episodes, are new ones"
    )
    return False


def sweep(directory: Path) -> None:
    """Remove incomplete checkpoints that a killed process left."""
    for rest in (directory / "checkpoints").glob(".*checkpoint-*"):
        if rest.is_dir() and not rest.is_symlink():
            shutil.rmtree(rest)


def _sorted(state: dict[str, Any]) -> dict[str, Any]:
    return {key: _sorted(state[key]) if isinstance(state[key], dict) else state[key] for key in sorted(state)}


def _success(path: Path) -> tuple[float, str]:
    return Checkpoint.manifest(path)["metadata"].get("success", -1.0), path.name


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
