"""Evaluate a function on the live rows of a batch in chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import count
from torchrl_htrpo.checks import may_wait

RowFn = Callable[[TensorDictBase], Tensor]


def map_rows(fn: RowFn, tensordict: TensorDictBase, mask: Tensor, chunk_size: int) -> Tensor:
    """Evaluate ``fn`` on the marked rows of a batch, at most ``chunk_size`` rows at a time.

    Expanded (stride 0) entries are materialised one chunk at a time, so ``chunk_size`` bounds the memory. Without
    device synchronisation (:func:`~torchrl_htrpo.checks.set_checks`), every row is evaluated, marked or not.

    Args:
        fn: rows ``[m]`` to values ``[m]``.
        tensordict: ``[*B]``.
        mask: booleans ``[*B]``.
        chunk_size: rows evaluated together.

    Returns:
        Values ``[*B]``, zero where not marked.

    Example:
        >>> from tensordict import TensorDict
        >>> td = TensorDict(x=torch.arange(4.0), batch_size=[4])
        >>> map_rows(lambda rows: rows["x"] ** 2, td, td["x"] > 1, chunk_size=1)
        tensor([0., 0., 4., 9.])
    """
    count("map_rows", "chunk_size", chunk_size)
    if not may_wait(mask.device):
        return torch.where(mask, _map_all(fn, tensordict, mask.device, chunk_size), 0)
    index = mask.nonzero(as_tuple=True)
    if not len(index[0]):
        floating = (leaf.dtype for leaf in tensordict.values(True, True) if leaf.is_floating_point())
        return torch.zeros(mask.shape, dtype=next(floating, None))
    parts = zip(*(axis.split(chunk_size) for axis in index), strict=True)
    values = torch.cat([fn(tensordict[part]) for part in parts])
    return values.new_zeros(mask.shape).index_put_(index, values)


def _map_all(fn: RowFn, tensordict: TensorDictBase, device: torch.device, chunk_size: int) -> Tensor:
    shape = tensordict.batch_size
    parts = torch.arange(shape.numel(), device=device).split(chunk_size)
    return torch.cat([fn(tensordict[unravel(part, shape)]) for part in parts]).reshape(shape)


def unravel(index: Tensor, shape: torch.Size) -> tuple[Tensor, ...]:
    """Like ``torch.unravel_index``, but without its copy to the device and the synchronisation that this needs.

    Args:
        index: of flattened entries ``[m]``.
        shape: what was flattened.

    Returns:
        An index ``[m]`` for each dimension.

    Example:
        >>> unravel(torch.tensor([0, 5]), torch.Size([2, 3]))
        (tensor([0, 1]), tensor([0, 2]))
    """
    parts = []
    for size in reversed(shape):
        parts.append(index % size)
        index = index // size
    return tuple(reversed(parts))


def by_goal(values: Tensor) -> Tensor:
    """Flatten the batch dimensions between goals and time: ``[G, *B, T]`` to ``[G, N, T]``.

    Example:
        >>> by_goal(torch.zeros(2, 3, 4, 5)).shape, by_goal(torch.zeros(2, 5)).shape
        (torch.Size([2, 12, 5]), torch.Size([2, 1, 5]))
    """
    return values.flatten(1, -2) if values.dim() > 2 else values.unsqueeze(1)
