"""Linearise one residual per row, for many products with its Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from torchrl_htrpo.optim.gauss_newton.linear_tap import LinearCall, LinearTap
from torchrl_htrpo.optim.gauss_newton.row_factors import Factor, Graph, LinearRows
from torchrl_htrpo.optim.gauss_newton.row_store import RowStore
from torchrl_htrpo.optim.problem import ResidualFn

_MOST_COLUMNS = 32  # A dense column costs one pass through the graph once; a graph costs two in every product.


class RowsMixedError(RuntimeError):
    """Residuals depend on other rows, or rows are not the first dimension, so factors are not outer products."""


@dataclass(frozen=True)
class RowJacobian:
    """The Jacobian ``J`` of the residuals ``[rows]`` of a chunk, as the factors of its columns."""

    rows: int
    factors: Sequence[Factor]

    def push(self, vector: TensorDictBase) -> Tensor:
        """``J v``, ``[rows]``."""
        if not self.factors:
            return next(iter(vector.values(True, True))).new_zeros(self.rows)
        return torch.stack([factor.push(vector, self.rows) for factor in self.factors]).sum(0)

    def pull_(self, tangent: Tensor, into: TensorDictBase) -> None:
        """Add ``J^T u``, with ``u`` ``[rows]``."""
        for factor in self.factors:
            factor.pull_(tangent, into)

    def keep(self, store: RowStore) -> RowJacobian | None:
        """Copy the Jacobian to the memory of a store; ``None`` if it does not fit."""
        fits = store.reserve(sum(factor.num_bytes for factor in self.factors))
        return RowJacobian(self.rows, [factor.keep(store) for factor in self.factors]) if fits else None


@torch.enable_grad()
def row_jacobian(
    residual: ResidualFn, params: TensorDictBase, *, factored: bool = True, check: bool = False
) -> RowJacobian:
    """Linearise the residuals ``[m]`` of a chunk.

    Args:
        residual: parameters to ``[m]``.
        params: where to linearise.
        factored: store linear layers as outer products, which requires that each residual depends on its own row only.
        check: check this requirement, at the cost of another backward pass; raise a RowsMixedError if it fails.

    Example:
        >>> from tensordict import TensorDict
        >>> at, x = TensorDict(w=torch.ones(1, 2)), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> row_jacobian(lambda p: torch.nn.functional.linear(x, p["w"]).squeeze(-1) ** 2, at).push(at)
        tensor([18., 98.])
    """
    at = params.apply(lambda leaf: leaf.detach().requires_grad_())
    leaves = {key: at.get(key) for key in at.keys(True, True)}
    tap = LinearTap({id(leaf): key for key, leaf in leaves.items()} if factored else {})
    saved = _SavedBytes()
    with saved, tap:
        value = residual(at)
    if not value.requires_grad or not len(value):
        return RowJacobian(len(value), [])
    factors: list[Factor] = [*_layers(value, tap.calls, check)]
    rest = _rest(value, leaves, saved)
    if rest is not None:
        few = sum(leaf.numel() for leaf in rest.leaves.values()) <= _MOST_COLUMNS
        factors.append(rest.columns() if few else rest)
    return RowJacobian(len(value), factors)


def _layers(value: Tensor, calls: Sequence[LinearCall], check: bool) -> list[LinearRows]:
    layers = _with_slopes(value, calls, torch.ones_like(value))
    if any(len(layer.x) == 0 or len(layer.x) % len(value) for layer in layers):
        raise RowsMixedError("The inputs of a linear layer are not the rows.")
    if check:
        # If rows are independent, changing the weights scales the slopes of each row by its weight.
        tangent = torch.linspace(0.5, 1.5, len(value), dtype=value.dtype, device=value.device)
        for layer, other in zip(layers, _with_slopes(value, calls, tangent), strict=True):
            error = torch.linalg.vector_norm(other.slope - layer.scaled(tangent))
            if error > 1e-3 * torch.linalg.vector_norm(layer.slope):
                raise RowsMixedError("The residual of a row depends on other rows.")
    return layers


def _with_slopes(value: Tensor, calls: Sequence[LinearCall], tangent: Tensor) -> list[LinearRows]:
    if not calls:
        return []
    outputs = [call.y for call in calls]
    slopes: Sequence[Tensor | None] = torch.autograd.grad(value, outputs, tangent, retain_graph=True, allow_unused=True)
    pairs = zip(calls, slopes, strict=True)
    return [LinearRows(c.weight, c.bias, _flat(c.x), _flat(slope)) for c, slope in pairs if slope is not None]


def _flat(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1])


def _rest(value: Tensor, leaves: dict[NestedKey, Tensor], saved: _SavedBytes) -> Graph | None:
    seed = torch.ones_like(value, requires_grad=True)
    with saved:
        found: Sequence[Tensor | None] = torch.autograd.grad(
            value, list(leaves.values()), seed, create_graph=True, allow_unused=True
        )
    pairs = [(key, gradient) for key, gradient in zip(leaves, found, strict=True) if gradient is not None]
    if not pairs:
        return None
    return Graph({key: leaves[key] for key, _ in pairs}, value, seed, [g for _, g in pairs], saved.total)


class _SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Count the bytes that a graph stores."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        super().__init__(self._count, lambda tensor: tensor)

    @property
    def total(self) -> int:
        return sum(self.sizes.values())

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # Saving the tensor itself would create a reference cycle with its graph.
