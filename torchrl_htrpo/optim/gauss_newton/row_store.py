"""Reusable memory for linearised rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchrl_htrpo._errors import refusal


class RowStore:
    """Memory of at most ``max_bytes`` that each update overwrites: allocating it anew costs more than filling it."""

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        if max_bytes < 0:
            raise ValueError(refusal(self, "max_bytes", "not negative", max_bytes))
        self.max_bytes = max_bytes
        self._slabs: list[Tensor] = []
        self.clear()

    def clear(self) -> None:
        """Free all stored tensors for overwriting."""
        self._next = self._reserved = 0

    def reserve(self, num_bytes: int) -> bool:
        """Reserve memory, if ``max_bytes`` are not exceeded."""
        fits = self._reserved + num_bytes <= self.max_bytes
        self._reserved += num_bytes if fits else 0
        return fits

    def keep(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Copy tensors of one dtype and device to reserved memory, where they stay until :meth:`clear`."""
        sizes = [tensor.numel() for tensor in tensors]
        parts = self._slab(sum(sizes), tensors[0])[: sum(sizes)].split(sizes)
        return [part.view(tensor.shape).copy_(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def _slab(self, numel: int, like: Tensor) -> Tensor:
        index, self._next = self._next, self._next + 1
        if index == len(self._slabs):
            self._slabs.append(torch.empty(0))
        slab = self._slabs[index]
        if slab.numel() < numel or (slab.dtype, slab.device) != (like.dtype, like.device):
            del slab
            self._slabs[index] = torch.empty(0)  # Free the old slab before allocating the new one.
            self._slabs[index] = torch.empty(numel, dtype=like.dtype, device=like.device)
        return self._slabs[index]
