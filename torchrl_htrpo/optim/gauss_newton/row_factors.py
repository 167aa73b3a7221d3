"""Factored columns of the Jacobian of one residual per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor
from torch.nn import functional

from torchrl_htrpo.optim.gauss_newton.row_store import RowStore


class Factor(Protocol):
    """Protocol: the columns of a Jacobian ``J`` for some of the parameters."""

    @property
    def num_bytes(self) -> int:
        """Memory in bytes."""

    def push(self, vector: TensorDictBase, rows: int) -> Tensor:
        """Compute this factor's part of ``J v``, ``[rows]``."""

    def pull_(self, tangent: Tensor, into: TensorDictBase) -> None:
        """Add this factor's part of ``J^T u``, with ``u`` ``[rows]``."""

    def keep(self, store: RowStore) -> Factor:
        """Copy the factor to the memory of a store."""


@dataclass(frozen=True)
class LinearRows:
    r"""Weights of a linear layer :math:`y = x W^\top + b`, with slopes :math:`s_i = \partial r_i / \partial y_i`.

    A row's residual depends on the layer through its own output only, so its gradient is an outer product
    :math:`s_i x_i^\top`, and :math:`J v` and :math:`J^\top u` take one matrix product each; derivatives through the
    graph take two.
    """

    weight: NestedKey
    bias: NestedKey | None
    x: Tensor  # [n, in]; n is a multiple of the number of rows
    slope: Tensor  # [n, out]

    @property
    def num_bytes(self) -> int:
        """See :class:`Factor`."""
        return self.x.nbytes + self.slope.nbytes

    def push(self, vector: TensorDictBase, rows: int) -> Tensor:
        """See :class:`Factor`."""
        bias = None if self.bias is None else vector.get(self.bias)
        moved = functional.linear(self.x, vector.get(self.weight), bias)
        return moved.mul_(self.slope).view(rows, -1).sum(-1)

    def pull_(self, tangent: Tensor, into: TensorDictBase) -> None:
        """See :class:`Factor`."""
        scaled = self.scaled(tangent)
        into.get(self.weight).addmm_(scaled.t(), self.x)
        if self.bias is not None:
            into.get(self.bias).add_(scaled.sum(0))

    def scaled(self, tangent: Tensor) -> Tensor:
        """The slopes of each row times the row's entry of ``tangent`` ``[rows]``."""
        return (self.slope.view(len(tangent), -1) * tangent.unsqueeze(-1)).view_as(self.slope)

    def keep(self, store: RowStore) -> LinearRows:
        """See :class:`Factor`."""
        return LinearRows(self.weight, self.bias, *store.keep([self.x, self.slope]))


@dataclass(frozen=True)
class Columns:
    """Dense columns of a few parameters of any kind: ``dense`` is ``[rows, q]``."""

    shapes: dict[NestedKey, torch.Size]
    dense: Tensor

    @property
    def num_bytes(self) -> int:
        """See :class:`Factor`."""
        return self.dense.nbytes

    def push(self, vector: TensorDictBase, rows: int) -> Tensor:
        """See :class:`Factor`."""
        return self.dense @ torch.cat([vector.get(key).reshape(-1) for key in self.shapes])

    def pull_(self, tangent: Tensor, into: TensorDictBase) -> None:
        """See :class:`Factor`."""
        parts = (self.dense.t() @ tangent).split([shape.numel() for shape in self.shapes.values()])
        for (key, shape), part in zip(self.shapes.items(), parts, strict=True):
            into.get(key).add_(part.view(shape))

    def keep(self, store: RowStore) -> Columns:
        """See :class:`Factor`."""
        return Columns(self.shapes, *store.keep([self.dense]))


@dataclass(frozen=True)
class Graph:
    """Columns of any parameters, as derivatives through a stored graph."""

    leaves: dict[NestedKey, Tensor]
    residual: Tensor  # [rows], differentiable in the leaves
    seed: Tensor  # [rows]
    gradients: Sequence[Tensor]  # J^T seed, differentiable in the seed
    num_bytes: int

    def push(self, vector: TensorDictBase, rows: int) -> Tensor:
        """See :class:`Factor`; ``J^T u`` is linear in ``u``, so its own transposed derivative is ``J``."""
        return self._transpose(self.gradients, [vector.get(key) for key in self.leaves])

    def pull_(self, tangent: Tensor, into: TensorDictBase) -> None:
        """See :class:`Factor`."""
        parts = torch.autograd.grad(self.residual, list(self.leaves.values()), tangent, retain_graph=True)
        for key, part in zip(self.leaves, parts, strict=True):
            into.get(key).add_(part)

    def keep(self, store: RowStore) -> Graph:
        """See :class:`Factor`; a graph is not copied."""
        return self

    def columns(self) -> Columns:
        """Compute dense columns, with one pass through the graph per parameter."""
        each = torch.cat([gradient.reshape(-1) for gradient in self.gradients])
        dense = torch.stack([self._transpose([one], None) for one in each], -1)
        return Columns({key: leaf.shape for key, leaf in self.leaves.items()}, dense)

    def _transpose(self, outputs: Sequence[Tensor], directions: Sequence[Tensor] | None) -> Tensor:
        (out,) = torch.autograd.grad(outputs, self.seed, directions, retain_graph=True, materialize_grads=True)
        return out
