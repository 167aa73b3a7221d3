"""States that differ between processes, in one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch.distributed as dist
from torchrl.checkpoint import GlobalRNGState

from torchrl_htrpo.distributed import Group, rank_of, to_first
from torchrl_htrpo.records.checkpoints import OF_A_PROCESS


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


def with_states_of_all(components: Mapping[str, Any], group: Group) -> dict[str, Any]:
    """Make a checkpoint hold the states of all processes, for components whose state belongs to a process."""
    if group is None:
        return dict(components)
    every = {"rng": GlobalRNGState(), **components}
    return {name: ProcessStates(item, group) if name in OF_A_PROCESS else item for name, item in every.items()}
