"""Sums, maxima and concatenations over the processes of a ``torch.distributed`` group.

Every function takes a process group, or None for a single process; it then returns what it got.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from torchrl_htrpo._errors import refusal

Group = dist.ProcessGroup | None
Number = TypeVar("Number", int, float)
ANSWER = timedelta(seconds=10)  # for the answers of the other processes, after an operation failed


def rank_of(group: Group) -> int:
    """The number of this process in the group, 0 for a single process."""
    return 0 if group is None else dist.get_rank(group)


def size_of(group: Group) -> int:
    """The number of processes."""
    return 1 if group is None else dist.get_world_size(group)


def all_sum(values: Tensor, group: Group) -> Tensor:
    """Sum a tensor over the processes; all must pass the same shape."""
    return _reduced(values, group, dist.ReduceOp.SUM)


def all_max(values: Tensor, group: Group) -> Tensor:
    """The largest values of the processes, element by element; for booleans, whether any is true."""
    if values.dtype is torch.bool and group is not None:
        return _reduced(values.to(torch.uint8), group, dist.ReduceOp.MAX).bool()
    return _reduced(values, group, dist.ReduceOp.MAX)


def all_sum_(tensors: Sequence[Tensor], group: Group) -> None:
    """Sum tensors of one dtype over the processes, in place, in one message."""
    if group is None or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    with _explained(group, "all_reduce"):
        dist.all_reduce(flat, group=group)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def all_cat(values: Tensor, group: Group) -> Tensor:
    """Concatenate tensors ``[n, *]`` of all processes along the first dimension; ``n`` may differ."""
    if group is None:
        return values
    counts = [torch.zeros(1, dtype=torch.long, device=values.device) for _ in range(size_of(group))]
    with _explained(group, "all_gather"):
        dist.all_gather(counts, torch.full_like(counts[0], len(values)), group=group)
    sizes = [int(count) for count in counts]
    dtype = torch.uint8 if values.dtype is torch.bool else values.dtype
    padded = values.new_zeros((max(sizes), *values.shape[1:]), dtype=dtype)
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in sizes]
    with _explained(group, "all_gather"):
        dist.all_gather(parts, padded, group=group)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(values.dtype)


def from_first(values: Tensor, group: Group) -> Tensor:
    """The tensor of the first process; all must pass the same shape."""
    if group is None:
        return values
    sent = values.to(torch.uint8) if values.dtype is torch.bool else values.clone()
    sent = sent.contiguous()
    with _explained(group, "broadcast"):
        dist.broadcast(sent, group=group, group_src=0)
    return sent.to(values.dtype)


def to_first(item: Any, group: dist.ProcessGroup) -> list[Any]:
    """Objects of all processes, on the first process; an empty list on the others."""
    found: list[Any] | None = [None] * size_of(group) if rank_of(group) == 0 else None
    with _explained(group, "gather"):
        dist.gather_object(item, found, group=group, group_dst=0)
    return found or []


def ranks_where(flag: bool, group: Group) -> list[int]:
    """The numbers of the processes where a flag is true."""
    if group is None:
        return [0] if flag else []
    return all_cat(torch.tensor([flag], device=device_of(group)), group).nonzero().flatten().tolist()


def all_mean(figures: Mapping[str, float], group: Group) -> dict[str, float]:
    """Average figures over the processes; all must pass the same names in the same order."""
    if group is None:
        return dict(figures)
    values = torch.tensor(list(figures.values()), dtype=torch.float64, device=device_of(group))
    means = (all_sum(values, group) / size_of(group)).tolist()
    return dict(zip(figures, means, strict=True))


def largest(value: Number, group: Group) -> Number:
    """The largest number of the processes."""
    if group is None:
        return value
    return type(value)(all_max(torch.tensor(value, dtype=torch.float64, device=device_of(group)), group).item())


def refuse_different(who: object, argument: str, values: Sequence[int], group: Group) -> None:
    """Raise a ValueError on every process if integers, named by ``argument``, are not the same on all."""
    if group is None:
        return
    own = torch.tensor([*values, *(-value for value in values)], device=device_of(group))
    most = all_max(own, group).tolist()
    high, low = most[: len(values)], [-value for value in most[len(values) :]]
    if high != low:
        raise ValueError(refusal(who, argument, "the same on all processes", f"from {low} to {high}"))


def seed_of(seed: int, group: Group) -> int:
    """A seed for this process: ``seed`` itself on the first, independent ones on the others."""
    rank = rank_of(group)
    return int(np.random.SeedSequence([seed % 2**64, rank]).generate_state(1)[0]) if rank else seed


def device_of(group: dist.ProcessGroup) -> torch.device:
    """The device of tensors for the backend of a group."""
    return torch.device("cuda" if dist.get_backend(group) == "nccl" else "cpu")


def watch_of(group: Group) -> Group:
    """A gloo group of the same processes, for :func:`roll_call`."""
    if group is None or dist.get_backend(group) == "gloo":
        return group
    ranks, timeout = dist.get_process_group_ranks(group), _timeout_of(group)
    return dist.new_group(ranks, timeout=timeout, backend="gloo", use_local_synchronization=True)


def roll_call(group: Group, where: str, timeout: float | None = None) -> None:
    """Wait until all processes are at the place ``where``; raise a RuntimeError that names those that do not come.

    The group has the backend gloo. The timeout is in seconds; default: that of the group.
    """
    if group is None:
        return
    try:
        longest = _timeout_of(group) if timeout is None else timedelta(seconds=timeout)
        dist.monitored_barrier(group, longest, wait_all_ranks=True)
    except RuntimeError as error:
        raise RuntimeError(f"process {rank_of(group)} waited after {where!r} for another one: {error}") from error


def _timeout_of(group: dist.ProcessGroup) -> timedelta:
    """The timeout of a group, which torch's functions do not use by default."""
    return group._get_backend(device_of(group)).options._timeout


def _reduced(values: Tensor, group: Group, operation: dist.ReduceOp.RedOpType) -> Tensor:
    if group is None:
        return values
    out = values.clone(memory_format=torch.contiguous_format)
    with _explained(group, "all_reduce"):
        dist.all_reduce(out, operation, group=group)
    return out


@contextmanager
def _explained(group: dist.ProcessGroup, operation: str) -> Iterator[None]:
    """Say in the error of a failed operation which processes are missing. Costs nothing while none fails."""
    began = monotonic()
    try:
        yield
    except RuntimeError as error:
        waited = monotonic() - began
        told = f"process {rank_of(group)} waited {waited:.1f} s in {operation}; {_answers(group, waited)}: {error}"
        raise RuntimeError(told) from error


def _answers(group: dist.ProcessGroup, waited: float) -> str:
    """Tell the others through the store how long this process waited; say what they tell."""
    keys = [f"torchrl_htrpo/waited/{rank}" for rank in range(size_of(group))]
    try:
        store = group.get_group_store()
        store.set(keys[rank_of(group)], f"{waited:.1f}")
        with suppress(RuntimeError):  # not all answer
            store.wait(keys, ANSWER)
        there = [store.check([key]) for key in keys]
        times = {rank: float(store.get(key)) for rank, key in enumerate(keys) if there[rank]}
    except RuntimeError as error:
        return f"the store of the group does not answer ({error})"
    missing = [rank for rank in range(size_of(group)) if not there[rank]]
    if missing:
        return f"processes {missing} do not answer"
    return f"all answer, and the last one came late: seconds waited by process {times}"
