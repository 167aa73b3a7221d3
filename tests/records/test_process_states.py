"""States of all processes in one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.processes import needs_gloo, together
from torchrl_htrpo.distributed import Group
from torchrl_htrpo.records.process_states import ProcessStates, with_states_of_all
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


def test_a_single_process_saves_its_components_as_they_are():
    components = {"env": Number(1)}
    assert with_states_of_all(components, None) == components
