"""A cheap approximate inverse of the curvature, so that conjugate gradients need fewer products."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.optim.gauss_newton.curvature import GaussNewtonOperator, LinearOperator
from torchrl_htrpo.optim.gauss_newton.row_factors import Columns, LinearRows

Solve = Callable[[TensorDictBase], TensorDictBase]


class Preconditioner(Protocol):
    """Anything that makes an approximate inverse of ``A + damping I``, symmetric and positive definite."""

    def __call__(self, operator: LinearOperator, damping: float) -> Solve | None:
        """The approximate inverse; ``None`` if nothing better than none is known."""


@dataclass(frozen=True)
class KroneckerPreconditioner:
    r"""Approximate the curvature of each linear layer by a Kronecker product (K-FAC).

    .. math:: \sum_i c_i \, s_i s_i^\top \otimes x_i x_i^\top \approx \sum_i c_i \, s_i s_i^\top \otimes
              \sum_i c_i \, x_i x_i^\top / \sum_i c_i

    with a layer's inputs :math:`x`, the slopes :math:`s` of the residuals with respect to its outputs, and the weights
    :math:`c` of the rows. A few parameters of any other kind get the diagonal of their curvature, many of them the mean
    diagonal of the rest. Reads what a :class:`GaussNewtonOperator` keeps in memory; any other operator is left alone.

    Args:
        num_rows: rows it is estimated from, evenly spaced.

    Raises:
        ValueError: if ``num_rows`` is not positive.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl_htrpo.optim import ConjugateGradient
        >>> x = torch.randn(64, 8) * torch.logspace(-1, 1, 8)
        >>> residual = lambda p: torch.nn.functional.linear(x, p["w"]).squeeze(-1)
        >>> operator = GaussNewtonOperator([(residual, torch.ones(64))], TensorDict(w=torch.zeros(1, 8)))
        >>> b = TensorDict(w=torch.ones(1, 8))
        >>> ConjugateGradient(preconditioner=KroneckerPreconditioner())(operator, b, damping=1e-3).iterations
        1

    Source: `K-FAC <https://arxiv.org/abs/1503.05671>`_.
    """

    num_rows: int = 4096

    def __post_init__(self) -> None:
        if self.num_rows < 1:
            raise ValueError(refusal(self, "num_rows", "a positive integer", self.num_rows))

    @torch.no_grad()
    def __call__(self, operator: LinearOperator, damping: float) -> Solve | None:
        """See :class:`Preconditioner`."""
        if not isinstance(operator, GaussNewtonOperator):
            return None
        try:
            layers, diagonals = self._estimate(operator)
        except RuntimeError:  # Not finite, so not factorised: let the iteration meet it.
            return None
        means = [layer.values.mean() for layer in layers] + [diagonal.mean() for diagonal in diagonals.values()]
        if not means:
            return None
        rest = torch.stack(means).mean() + damping

        def solve(vector: TensorDictBase) -> TensorDictBase:
            out = vector.apply(lambda leaf: leaf / rest.to(leaf))
            for key, diagonal in diagonals.items():
                out.set(key, vector.get(key) / _positive(diagonal + damping))
            for layer in layers:
                layer.solve_(vector, out, damping)
            return out

        return solve

    def _estimate(self, operator: GaussNewtonOperator) -> tuple[list[_Layer], dict[NestedKey, Tensor]]:
        chunks = [(kept, weight) for kept, (_, weight) in zip(operator.kept, operator.residuals, strict=True) if kept]
        stride = max(1, sum(len(weight) for _, weight in chunks) // self.num_rows)
        sums: dict[NestedKey, _Sums] = {}
        diagonals: dict[NestedKey, Tensor] = {}
        scale = _total(operator.residuals) / _total([(None, weight[::stride]) for _, weight in chunks])
        for jacobian, weight in chunks:
            share = weight[::stride] * scale
            for factor in jacobian.factors:
                if isinstance(factor, LinearRows):
                    found = sums.setdefault(factor.weight, _Sums(factor.weight, factor.bias))
                    found.add(_every(factor.x, weight, stride), _every(factor.slope, weight, stride), share)
                elif isinstance(factor, Columns):
                    _add_squares(diagonals, factor, share, stride)
        return [found.layer() for found in sums.values()], diagonals


class _Sums:
    """Second moments of a layer's inputs (with a one for the bias) and slopes."""

    def __init__(self, weight: NestedKey, bias: NestedKey | None) -> None:
        self.weight, self.bias = weight, bias
        self.inputs = self.slopes = self.total = torch.zeros(())

    def add(self, x: Tensor, slope: Tensor, share: Tensor) -> None:
        x = x if self.bias is None else torch.cat((x, torch.ones_like(x[:, :1])), -1)
        share = share.repeat_interleave(len(x) // max(len(share), 1)).unsqueeze(-1)
        self.inputs = self.inputs.to(x) + (x * share).t() @ x
        self.slopes = self.slopes.to(x) + (slope * share).t() @ slope
        self.total = self.total.to(x) + share.sum()

    def layer(self) -> _Layer:
        inputs, slopes = torch.linalg.eigh(self.inputs / self.total), torch.linalg.eigh(self.slopes)
        values = slopes.eigenvalues.clamp_min(0).unsqueeze(-1) * inputs.eigenvalues.clamp_min(0)
        return _Layer(self.weight, self.bias, values, inputs.eigenvectors, slopes.eigenvectors)


@dataclass(frozen=True)
class _Layer:
    """The Kronecker product, diagonal in the bases of its factors."""

    weight: NestedKey
    bias: NestedKey | None
    values: Tensor
    input_basis: Tensor
    slope_basis: Tensor

    def solve_(self, vector: TensorDictBase, out: TensorDictBase, damping: float) -> None:
        matrix = vector.get(self.weight)
        if self.bias is not None:
            matrix = torch.cat((matrix, vector.get(self.bias).unsqueeze(-1)), -1)
        inside = (self.slope_basis.t() @ matrix @ self.input_basis) / _positive(self.values + damping)
        solved = self.slope_basis @ inside @ self.input_basis.t()
        if self.bias is not None:
            out.set(self.bias, solved[:, -1].clone())
            solved = solved[:, :-1].contiguous()
        out.set(self.weight, solved)


def _positive(values: Tensor) -> Tensor:
    """Without damping, a direction that no row moves in has curvature 0."""
    return values.clamp_min(values.amax().clamp_min(torch.finfo(values.dtype).tiny) * torch.finfo(values.dtype).eps)


def _every(values: Tensor, weight: Tensor, stride: int) -> Tensor:
    """What belongs to every so many rows."""
    return values.view(len(weight), -1, values.shape[-1])[::stride].flatten(0, 1)


def _add_squares(diagonals: dict[NestedKey, Tensor], columns: Columns, share: Tensor, stride: int) -> None:
    squares = share @ columns.dense[::stride].square()
    parts = squares.split([shape.numel() for shape in columns.shapes.values()])
    for (key, shape), part in zip(columns.shapes.items(), parts, strict=True):
        diagonals[key] = diagonals[key] + part.view(shape) if key in diagonals else part.view(shape)


def _total(pairs: Iterable[tuple[object, Tensor]]) -> Tensor:
    return torch.stack([weight.sum() for _, weight in pairs] or [torch.zeros(())]).sum()
