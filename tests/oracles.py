"""Reference implementation of the published update rule: slow, simple, in float64, independent of the library.

Nothing here imports from the package. Loops run over goals, trajectories and steps as the equations do; curvature is a
dense matrix; networks are written out. Equation numbers are those of arXiv 1907.12439.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LogProb = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(flat parameters, inputs [m, d], actions [m, ...]) to log-probabilities [m]."""


def equal(achieved: Tensor, goal: Tensor) -> bool:
    return achieved.tolist() == goal.tolist()


def nearer_than(threshold: float) -> Callable[[Tensor, Tensor], bool]:
    return lambda achieved, goal: math.dist(achieved.tolist(), goal.tolist()) < threshold


# --- Hindsight Goal Filtering, Algorithm 2 ---


def density_scale(originals: Tensor) -> list[float]:
    """One over the standard deviation of each dimension of the original goals; 0 where they do not vary."""
    columns = list(zip(*originals.tolist(), strict=True))
    if all(max(column) == min(column) for column in columns):
        return [1.0] * len(columns)
    scale = []
    for column in columns:
        mean = sum(column) / len(column)
        std = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column))
        scale.append(1 / std if max(column) > min(column) else 0.0)
    return scale


def inside_box(candidate: Tensor, originals: Tensor) -> bool:
    columns = zip(candidate.tolist(), zip(*originals.tolist(), strict=True), strict=True)
    return all(min(column) <= x <= max(column) for x, column in columns if max(column) > min(column))


def hgf(candidates: Tensor, originals: Tensor, count: int, scale: Sequence[float], start: int | None) -> list[int]:
    """Algorithm 2 by brute force: indices of the chosen candidates.

    Args:
        candidates: distinct achieved goals.
        originals: original goals.
        count: how many to choose.
        scale: weight of each dimension in the distance.
        start: the random first goal of the region, if the region holds any.
    """

    def distance(a: Tensor, b: Tensor) -> float:
        return math.sqrt(sum(((x - y) * s) ** 2 for x, y, s in zip(a.tolist(), b.tolist(), scale, strict=True)))

    region = [i for i, candidate in enumerate(candidates) if inside_box(candidate, originals)]
    if not region:
        nearness = [min(distance(candidate, goal) for goal in originals) for candidate in candidates]
        return sorted(range(len(candidates)), key=nearness.__getitem__)[:count]
    chosen = [start]
    while len(chosen) < min(count, len(region)):
        rest = [i for i in region if i not in chosen]
        chosen.append(max(rest, key=lambda i: min(distance(candidates[i], candidates[j]) for j in chosen)))
    return chosen


# --- Relabelling, Algorithm 3 ---


def relabel(
    start: Tensor,
    achieved: Tensor,
    goals: Tensor,
    *,
    lengths: Sequence[int],
    reached: Callable[[Tensor, Tensor], bool] = equal,
    reward: str = "sparse",
    success_reward: float = 1.0,
    failed: Tensor | None = None,
) -> dict[str, Tensor]:
    """What each (goal, trajectory) pair sees.

    Args:
        start: goal achieved before the first action ``[N, d]``.
        achieved: goal achieved after each action ``[N, T, d]``.
        goals: ``[G, d]``.
        lengths: steps of each trajectory.
        reached: the goal test.
        reward: ``"sparse"``, ``"paper_code"``, ``"her"`` or ``"dense"``.
        success_reward: of ``"sparse"``.
        failed: which steps ended the episode without success ``[N, T]``.

    Returns:
        ``reward``, ``terminated``, ``truncated`` and ``mask``, each ``[G, N, T]``.
    """
    shape = (len(goals), *achieved.shape[:2])
    out = {key: torch.zeros(shape, dtype=torch.bool) for key in ("terminated", "truncated", "mask")}
    out["reward"] = torch.zeros(shape, dtype=torch.float64)
    steps = achieved.shape[1]
    for j, goal in enumerate(goals):
        for i, length in enumerate(lengths):
            if reached(start[i], goal):
                continue
            for t in range(length):
                success = reached(achieved[i, t], goal)
                failure = failed is not None and bool(failed[i, t])
                out["mask"][j, i, t] = True
                out["reward"][j, i, t] = {
                    "sparse": success_reward if success else 0.0,
                    "paper_code": float(steps - t) if success else 0.0,
                    "her": 0.0 if success else -1.0,
                    "dense": -math.dist(achieved[i, t].tolist(), goal.tolist()),
                }[reward]
                out["terminated"][j, i, t] = success or failure
                if success or failure:
                    break
                out["truncated"][j, i, t] = t == length - 1
    return out


# --- Ratios and weights, eqs. 77-80 ---


def cumulative_ratio(new: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """Products of probability ratios up to each step ``[G, N, T]``; 0 on dead steps."""
    ratio = torch.zeros_like(new)
    for j, i in _pairs(mask):
        product = 1.0
        for t in range(new.shape[2]):
            if mask[j, i, t]:
                product *= math.exp(new[j, i, t].item()) / math.exp(old[j, i, t].item())
                ratio[j, i, t] = product
    return ratio


def wis_weights(ratio: Tensor, mask: Tensor, finished: str = "exclude") -> Tensor:
    """Ratios divided by their sum over trajectories, for each goal and step ``[G, N, T]``.

    A trajectory that is over counts with its last ratio, or not at all; one that never lived does not count.
    """
    weights = torch.zeros_like(ratio)
    goals, trajectories, steps = ratio.shape
    for j in range(goals):
        for t in range(steps):
            live = [i for i in range(trajectories) if mask[j, i, t]]
            total = sum(ratio[j, i, t].item() for i in live)
            if finished == "include":
                over = [i for i in range(trajectories) if i not in live and mask[j, i].any()]
                total += sum(ratio[j, i, mask[j, i].nonzero().max()].item() for i in over)
            for i in live:
                weights[j, i, t] = ratio[j, i, t] / total
    return weights


def row_weights(ratio: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """The factor of each row in eqs. 79 and 80 with the radius eps in place of eps / (1 - gamma) ``[G, N, T]``."""
    weights = torch.zeros_like(ratio)
    goals = sum(bool(mask[j].any()) for j in range(mask.shape[0]))
    trajectories = sum(bool(mask[:, i].any()) for i in range(mask.shape[1]))
    for t in range(ratio.shape[2]):
        weights[:, :, t] = ratio[:, :, t] * gamma**t * (1 - gamma) / (goals * trajectories)
    return weights


def effective_sample_size(weights: Tensor) -> float:
    listed = [w / weights.sum().item() for w in weights.flatten().tolist()]
    return 1 / sum(w * w for w in listed)


# --- Advantages: values [.., T] and [.., T] of the next states, one trajectory at a time ---


def td0(reward: Tensor, value: Tensor, after: Tensor, terminated: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """One-step advantages, Section 3.2 ``[G, N, T]``."""
    advantage = torch.zeros_like(value)
    for j, i in _pairs(mask):
        for t in _steps(mask[j, i]):
            bootstrap = 0.0 if terminated[j, i, t] else gamma * after[j, i, t].item()
            advantage[j, i, t] = reward[j, i, t].item() + bootstrap - value[j, i, t].item()
    return advantage


def gae(
    reward: Tensor, value: Tensor, after: Tensor, terminated: Tensor, mask: Tensor, gamma: float, lmbda: float
) -> Tensor:
    """Generalised advantages as a sum over the steps that follow ``[G, N, T]``."""
    delta = td0(reward, value, after, terminated, mask, gamma)
    advantage = torch.zeros_like(value)
    for j, i in _pairs(mask):
        live = _steps(mask[j, i])
        for t in live:
            advantage[j, i, t] = sum((gamma * lmbda) ** (k - t) * delta[j, i, k].item() for k in live if k >= t)
    return advantage


def vtrace_target(
    reward: Tensor,
    value: Tensor,
    after: Tensor,
    terminated: Tensor,
    mask: Tensor,
    ratio: Tensor,
    gamma: float,
    lmbda: float,
) -> Tensor:
    """V-trace targets as the sum of IMPALA's eq. 1, with per-step ratios ``[G, N, T]``."""
    delta = td0(reward, value, after, terminated, mask, gamma)
    target = torch.zeros_like(value)
    for j, i in _pairs(mask):
        live = _steps(mask[j, i])
        for t in live:
            total, trace = value[j, i, t].item(), 1.0
            for k in live[live.index(t) :]:
                total += gamma ** (k - t) * trace * min(1.0, ratio[j, i, k].item()) * delta[j, i, k].item()
                trace *= min(lmbda, ratio[j, i, k].item())
            target[j, i, t] = total
    return target


def vtrace_advantage(
    reward: Tensor, value: Tensor, after: Tensor, terminated: Tensor, mask: Tensor, target: Tensor, gamma: float
) -> Tensor:
    """``r + gamma v_{t+1} - V``, where the target after the last step is its value ``[G, N, T]``."""
    following = after.clone()
    for j, i in _pairs(mask):
        live = _steps(mask[j, i])
        for t in live[:-1]:
            following[j, i, t] = target[j, i, t + 1]
    return td0(reward, value, following, terminated, mask, gamma)


# --- Networks and log-probabilities, written out ---


def mlp(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Tanh layers; ``weights`` alternate matrices and biases."""
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    for index, (matrix, bias) in enumerate(layers):
        x = x @ matrix.T + bias
        x = x if index == len(layers) - 1 else torch.tanh(x)
    return x


def categorical_log_prob(weights: Sequence[Tensor], x: Tensor, action: Tensor) -> Tensor:
    """``softmax(mlp(x))`` of the index of the action."""
    logits = mlp(weights, x)
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    chosen = shifted[torch.arange(len(x)), action.long()]
    return chosen - torch.log(torch.exp(shifted).sum(-1))


def gaussian_log_prob(weights: Sequence[Tensor], x: Tensor, action: Tensor, floor: float = 0.1) -> Tensor:
    """Independent Gaussians, mean ``tanh(mlp(x))``, the last weight the logarithm of the scale."""
    *layers, log_scale = weights
    mean, scale = torch.tanh(mlp(layers, x)), torch.clamp(torch.exp(log_scale), min=floor)
    terms = -((action - mean) ** 2) / (2 * scale**2) - torch.log(scale) - 0.5 * math.log(2 * math.pi)
    return terms.sum(-1)


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.split([leaf.numel() for leaf in like])
    return [part.reshape(leaf.shape) for part, leaf in zip(parts, like, strict=True)]


def flatten(leaves: Sequence[Tensor]) -> Tensor:
    return torch.cat([leaf.detach().reshape(-1) for leaf in leaves])


# --- The step, D.2 (eqs. 81-87) ---


def surrogate(
    log_prob: Callable[[Tensor], Tensor], flat: Tensor, old: Tensor, weight: Tensor, advantage: Tensor
) -> Tensor:
    """Objective of eq. 79."""
    return (weight * torch.exp(log_prob(flat) - old) * advantage).sum()


def quadratic_kl(log_prob: Callable[[Tensor], Tensor], flat: Tensor, old: Tensor, weight: Tensor) -> Tensor:
    """Constraint of eq. 80."""
    return (weight * 0.5 * (old - log_prob(flat)) ** 2).sum()


def dense_hessian(fn: Callable[[Tensor], Tensor], flat: Tensor) -> Tensor:
    """By double backward, the matrix whole."""
    return torch.autograd.functional.hessian(fn, flat)


def dense_gauss_newton(residual: Callable[[Tensor], Tensor], flat: Tensor, weight: Tensor) -> Tensor:
    """From the Jacobian, the matrix whole."""
    jacobian = torch.autograd.functional.jacobian(residual, flat)
    return jacobian.T @ torch.diag(weight) @ jacobian


def conjugate_gradient(matrix: Tensor, b: Tensor, iterations: int, squared_tolerance: float) -> Tensor:
    """The textbook iteration on a dense matrix (eq. 86); stops when the squared residual is below the tolerance."""
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    for _ in range(iterations):
        product = matrix @ direction
        alpha = (residual @ residual) / (direction @ product)
        x = x + alpha * direction
        smaller = residual - alpha * product
        if smaller @ smaller <= squared_tolerance:
            break
        direction = smaller + (smaller @ smaller) / (residual @ residual) * direction
        residual = smaller
    return x


def step_length(matrix: Tensor, x: Tensor, radius: float) -> float:
    """The factor before the direction in eq. 85."""
    return math.sqrt(2 * radius / (x @ matrix @ x).item())


def backtrack(
    gain: Callable[[Tensor], float],
    divergence: Callable[[Tensor], float],
    flat: Tensor,
    full: Tensor,
    expected: float,
    radius: float,
) -> Tensor:
    """Halve the step until it gains a tenth of what was expected within 1.5 times the radius."""
    for trial in range(10):
        step = 0.5**trial
        there = flat + step * full
        if divergence(there) <= 1.5 * radius and gain(there) > 0 and gain(there) >= 0.1 * step * expected:
            return there
    return flat


def _pairs(mask: Tensor) -> list[tuple[int, int]]:
    return [(j, i) for j in range(mask.shape[0]) for i in range(mask.shape[1])]


def _steps(mask: Tensor) -> list[int]:
    return [t for t, live in enumerate(mask.tolist()) if live]
