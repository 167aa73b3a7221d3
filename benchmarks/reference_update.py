"""The published policy update in plain torch: all rows at once, curvature by double backward.

Eqs. 79, 80 and 83-87 of https://arxiv.org/abs/1907.12439 with the settings of its authors: absolute damping, conjugate
gradients on the Hessian of QKL, the length of the step from the damped curvature, a backtracking line search. The
graph of the divergence's gradient is built once and kept for all products. Nothing here comes from the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Params = Sequence[Tensor]


@dataclass(frozen=True)
class Rows:
    """Inputs of the update, ``[m, ...]`` each."""

    inputs: Tensor
    action: Tensor
    log_prob: Tensor
    weight: Tensor
    advantage: Tensor


@dataclass(frozen=True)
class ReferenceStep:
    """Result of the update."""

    direction: Tensor
    step: Tensor
    gradient: Tensor
    iterations: int
    gain: float
    divergence: float


def log_prob(params: Params, inputs: Tensor, action: Tensor) -> Tensor:
    """Gaussian log-probability; ``params`` are the log-scale, then a weight and a bias per layer."""
    log_scale, *layers = params
    x = inputs
    for weight, bias in zip(layers[::2], layers[1::2], strict=True):
        x = torch.tanh(torch.nn.functional.linear(x, weight, bias))
    scale = log_scale.exp()
    return (-0.5 * ((action - x) / scale).square() - log_scale - 0.5 * math.log(2 * math.pi)).sum(-1)


def surrogate_and_divergence(params: Params, rows: Rows) -> tuple[Tensor, Tensor]:
    """Eqs. 79 and 80."""
    log_ratio = log_prob(params, rows.inputs, rows.action) - rows.log_prob
    surrogate = (rows.weight * log_ratio.exp() * rows.advantage).sum()
    return surrogate, (rows.weight * 0.5 * log_ratio.square()).sum()


def flat(parts: Sequence[Tensor]) -> Tensor:
    """Flatten to one vector."""
    return torch.cat([part.reshape(-1) for part in parts])


def curvature(params: Params, rows: Rows) -> Callable[[Tensor], Tensor]:
    """``v -> H v`` by differentiating the gradient of the divergence again."""
    _, divergence = surrogate_and_divergence(params, rows)
    gradient = flat(torch.autograd.grad(divergence, params, create_graph=True))
    return lambda vector: flat(torch.autograd.grad(gradient @ vector, params, retain_graph=True))


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, int]:
    """The textbook iteration; ``tolerance`` bounds the squared residual."""
    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    squared = r @ r
    for iteration in range(1, iterations + 1):
        image = product(p)
        alpha = squared / (p @ image)
        x, r = x + alpha * p, r - alpha * image
        previous, squared = squared, r @ r
        if squared < tolerance:
            return x, iteration
        p = r + squared / previous * p
    return x, iterations


def update(
    params: Params,
    rows: Rows,
    *,
    radius: float = 2e-5,
    damping: float = 1e-3,
    iterations: int = 10,
    tolerance: float = 1e-10,
) -> ReferenceStep:
    """One policy update; ``params`` are left as they are."""
    params = [param.detach().clone().requires_grad_() for param in params]
    surrogate, _ = surrogate_and_divergence(params, rows)
    before = surrogate.item()
    gradient = flat(torch.autograd.grad(surrogate, params))
    hessian = curvature(params, rows)
    direction, used = conjugate_gradients(lambda v: hessian(v) + damping * v, gradient, iterations, tolerance)
    bend = direction @ (hessian(direction) + damping * direction)
    full = math.sqrt(2 * radius / bend.item()) * direction
    expected = (gradient @ full).item()
    for power in range(10):
        step = 0.5**power * full
        gain, divergence = _try(params, rows, step, before)
        if gain > 0 and gain > 0.1 * 0.5**power * expected and 0 < divergence < 1.5 * radius:
            return ReferenceStep(direction, step, gradient, used, gain, divergence)
    return ReferenceStep(direction, torch.zeros_like(full), gradient, used, 0.0, 0.0)


def fit_critic(layers: Params, inputs: Tensor, target: Tensor, *, steps: int = 20, lr: float = 5e-4) -> float:
    """The critic's part of the published update: Adam on the squared error of all rows at once.

    Args:
        layers: a weight and a bias per layer, updated in place.
        inputs: ``[m, d]``.
        target: ``[m]``.
        steps: of Adam.
        lr: of Adam.

    Returns:
        The loss before the last step.
    """
    leaves = [layer.requires_grad_() for layer in layers]
    optimizer = torch.optim.Adam(leaves, lr=lr)
    for _ in range(steps):
        x = inputs
        for weight, bias in zip(leaves[:-2:2], leaves[1:-2:2], strict=True):
            x = torch.tanh(torch.nn.functional.linear(x, weight, bias))
        value = torch.nn.functional.linear(x, leaves[-2], leaves[-1]).squeeze(-1)
        loss = (value - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.no_grad()
def _try(params: Params, rows: Rows, step: Tensor, before: float) -> tuple[float, float]:
    pieces = step.split([param.numel() for param in params])
    moved = [param + piece.view_as(param) for param, piece in zip(params, pieces, strict=True)]
    surrogate, divergence = surrogate_and_divergence(moved, rows)
    return surrogate.item() - before, divergence.item()
