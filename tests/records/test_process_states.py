"""States of all processes in one checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer

from tests.processes import needs_gloo, together
from torchrl_htrpo.distributed import Group, size_of
from torchrl_htrpo.records.checkpoints import StoredItems, state_of
from torchrl_htrpo.records.process_states import ItemsOfAll, ProcessStates, with_states_of_all
from torchrl_htrpo.records.sealed import SealedCheckpoint


class Number:
    """A component with one number."""

    def __init__(self, value: int) -> None:
        self.value = torch.tensor(value)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


def save_and_load(rank: int, group: Group, folder: str) -> tuple[int, list[str], int]:
    own, shared = Number(10 + rank), Number(7)
    components = with_states_of_all({"env": own, "net": shared}, group)
    for item in components.values():
        if isinstance(item, ProcessStates):
            item.gather()
    if rank == 0:
        SealedCheckpoint(**components).save(Path(folder, "saved"))
    torch.distributed.barrier()
    own.value = shared.value = torch.tensor(-1)
    SealedCheckpoint(**components).load(Path(folder, "saved"))
    return own.value.item(), sorted(components), shared.value.item()


@needs_gloo
def test_each_process_gets_its_own_state_back(tmp_path):
    names = ["env", "net", "rng"]
    assert together(save_and_load, 2, str(tmp_path)) == [(10, names, 7), (11, names, 7)]


ITEMS = 6  # of an iteration, all processes together


def made(processes: int) -> StoredItems:
    """A buffer for the last two iterations of one of so many processes."""
    slot = ITEMS // processes
    return StoredItems(ReplayBuffer(storage=LazyTensorStorage(2 * slot), batch_size=slot))


def collect(stored: StoredItems, iteration: int, rank: int, processes: int) -> None:
    """Store the share of a process of the items 10 * iteration, 10 * iteration + 1, ..."""
    numbers = (10 * iteration + torch.arange(ITEMS)).split(ITEMS // processes)[rank]
    stored.buffer.extend(TensorDict(number=numbers.unsqueeze(-1), batch_size=[len(numbers)]))


def numbers_in(stored: StoredItems) -> list[int]:
    return stored.buffer.storage[: len(stored.buffer)]["number"].flatten().tolist()


COUNTS = (0, 1, 3)  # of iterations


def saved_by(rank: int, group: Group, folder: str) -> None:
    """Save what the last of so many iterations stored."""
    for iterations in COUNTS:
        stored = made(size_of(group))
        for iteration in range(iterations):
            collect(stored, iteration, rank, size_of(group))
        components = with_states_of_all({"replay": stored}, group)
        if group is not None:
            components["replay"].gather()
        if rank == 0:
            SealedCheckpoint(replay=components["replay"]).save(Path(folder, str(iterations)))


def loaded_by(rank: int, group: Group, folder: str) -> list[tuple[list[int], list[int]]]:
    """The items that a process gets, and those after another iteration."""
    found = []
    for iterations in COUNTS:
        stored = made(size_of(group))
        components = with_states_of_all({"replay": stored}, group)
        SealedCheckpoint(replay=components["replay"]).load(Path(folder, str(iterations)))
        before = numbers_in(stored) if iterations else []
        collect(stored, 9, rank, size_of(group))
        found.append((before, numbers_in(stored)))
    return found


def on(processes: int, function: Callable[..., Any], folder: Path) -> list[Any]:
    return together(function, processes, str(folder)) if processes > 1 else [function(0, None, str(folder))]


@needs_gloo
def test_another_number_of_processes_shares_the_stored_items_and_keeps_their_age(tmp_path):
    folders = {there: tmp_path / str(there) for there in (1, 2)}
    for there, folder in folders.items():
        on(there, saved_by, folder)
    for there, here in ((2, 1), (1, 2), (2, 3)):
        for iterations, *found in zip(COUNTS, *on(here, loaded_by, folders[there]), strict=True):
            kept = list(range(iterations))[-2:]
            for step, expected in enumerate((kept, [*kept, 9][-2:])):
                shares = [each[step] for each in found]
                assert {len(share) for share in shares} == {len(expected) * ITEMS // here}
                union = sorted(number for share in shares for number in share)
                assert union == [10 * iteration + number for iteration in expected for number in range(ITEMS)]


def refused(rank: int, group: Group) -> str:
    stored = ItemsOfAll(made(2), group)
    odd = TensorDict(number=torch.arange(8), batch_size=[8])
    with pytest.raises(ValueError) as error:  # noqa: PT011
        stored.load_state_dict(state_of(odd, 0))
    with pytest.raises(ValueError, match="older formats are not read"):
        stored.load_state_dict({"0": {}, "1": {}})
    return str(error.value)


@needs_gloo
def test_items_that_do_not_divide_are_refused():
    told = "Run: stored items must be a multiple of the 6 of an iteration, to divide among 2, got 8"
    assert together(refused, 2) == [told, told]


def test_a_single_process_saves_its_components_as_they_are():
    components = {"env": Number(1)}
    assert with_states_of_all(components, None) == components
