"""States that differ between processes, in one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torchrl.checkpoint import GlobalRNGState

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.distributed import Group, rank_of, size_of, to_first
from torchrl_htrpo.records.checkpoints import OF_A_PROCESS, StoredItems, items_of, state_of


class Stateful(Protocol):
    """Protocol: has a state to save and to load."""

    def state_dict(self) -> dict[str, Any]:
        """Get the state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""


class ProcessStates:
    """Save the states of a component on all processes, such as random states; restore that of each process."""

    def __init__(self, component: Stateful, group: dist.ProcessGroup) -> None:
        self.component, self.group = component, group
        self.states: dict[str, Any] = {}

    def gather(self) -> None:
        """Bring the states to the first process, which saves them. All processes must call this."""
        found = to_first(self.component.state_dict(), self.group)
        self.states = {str(rank): state for rank, state in enumerate(found)}

    def state_dict(self) -> dict[str, Any]:
        """Get the states that the last :meth:`gather` brought, by process."""
        return self.states

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of this process."""
        self.component.load_state_dict(state[str(rank_of(self.group))])


class ItemsOfAll(ProcessStates):
    """Save the items of a replay buffer on all processes as one process would; restore the share of this process.

    A buffer is a ring of slots with the ``batch_size`` items of an iteration. In a checkpoint a slot has those of all
    processes, and any number of them that divides a slot gets equal shares of each. So the oldest items stay the next
    to be replaced.
    """

    component: StoredItems

    def state_dict(self) -> dict[str, Any]:
        """Get the state that a single process would have."""
        states = [state for state in self.states.values() if state]
        if not states:
            return {}
        slots = len(items_of(states[0])) // self._slot
        parts = [items_of(state).unflatten(0, (slots, self._slot)) for state in states]
        return state_of(torch.cat(parts, 1).flatten(0, 1), sum(int(state["cursor"]) for state in states))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the share of this process; raise a ValueError if the items do not divide."""
        processes = size_of(self.group)
        if state:
            items = items_of(state)
            slots, rest = divmod(len(items), processes * self._slot)
            if rest:
                expected = f"a multiple of the {processes * self._slot} of an iteration, to divide among {processes}"
                raise ValueError(refusal("Run", "stored items", expected, len(items)))
            shares = items.unflatten(0, (slots, processes, self._slot))
            state = state_of(shares[:, rank_of(self.group)].flatten(0, 1), int(state["cursor"]) // processes)
        self.component.load_state_dict(state)

    @property
    def _slot(self) -> int:
        return int(self.component.buffer.batch_size)


def with_states_of_all(components: Mapping[str, Any], group: Group) -> dict[str, Any]:
    """Make a checkpoint hold the states of all processes, for components whose state belongs to a process."""
    if group is None:
        return dict(components)
    every = {"rng": GlobalRNGState(), **components}
    own = {name: ProcessStates(every[name], group) for name in OF_A_PROCESS & every.keys()}
    stored = {name: ItemsOfAll(item, group) for name, item in every.items() if isinstance(item, StoredItems)}
    return every | own | stored
