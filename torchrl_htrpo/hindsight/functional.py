"""Goal filtering, relabelling and importance weights on plain tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from torchrl_htrpo.batch.mask import beyond_end
from torchrl_htrpo.distributed import Group, all_max, all_sum

_PAIRS = 1 << 24  # distances computed together; bounds the memory


def goal_scale(goals: Tensor) -> Tensor:
    r"""Scale of each goal dimension: :math:`1 / \mathrm{std}`, and 0 where the goals do not vary.

    Dimensions in which the original goals do not vary (such as the height of a puck) do not contribute to distances. If
    they vary in no dimension (a single goal), every dimension has the same scale.

    Args:
        goals: original goals ``[K, d_g]``.

    Returns:
        Weights ``[d_g]``, in one over the units of the goal.

    Example:
        >>> goal_scale(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        tensor([1., 0.])
    """
    std = goals.std(0, unbiased=False)
    some = varies(goals)
    return torch.where(some, 1 / std, torch.where(some.any(), 0.0, 1.0).to(std))


def varies(goals: Tensor, tolerance: float = 1e-4) -> Tensor:
    """Which dimensions of the original goals ``[K, d_g]`` vary, relative to their size: booleans ``[d_g]``."""
    spread = goals.amax(0) - goals.amin(0)
    return spread > tolerance * goals.abs().amax(0).clamp_min(tolerance)


def in_box(candidates: Tensor, goals: Tensor) -> Tensor:
    """Which candidates lie in the axis-aligned box of the original goals, over the dimensions that vary.

    Args:
        candidates: ``[M, d_g]``.
        goals: original goals ``[K, d_g]``.

    Returns:
        Booleans ``[M]``.

    Example:
        >>> in_box(torch.tensor([[0.5, 9.0], [3.0, 5.0]]), torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        tensor([ True, False])
    """
    inside = (candidates >= goals.amin(0)) & (candidates <= goals.amax(0))
    return (inside | ~varies(goals)).all(-1)


def filter_goals(
    candidates: Tensor,
    valid: Tensor,
    goals: Tensor,
    num_goals: int,
    *,
    in_region: Tensor,
    scale: Tensor,
    resolution: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Hindsight Goal Filtering (Algorithm 2) on tensors, without a device synchronisation.

    If valid candidates lie in the region, choose one of them at random, then repeatedly the one farthest from those
    already chosen. Otherwise choose the candidates nearest to the set of original goals.

    Args:
        candidates: achieved goals ``[M, d_g]``.
        valid: which candidates exist ``[M]``.
        goals: original goals ``[K, d_g]``.
        num_goals: how many to choose (``G``).
        in_region: which candidates lie in the region of the original goals ``[M]``.
        scale: weight of each dimension in the distance ``[d_g]``.
        resolution: candidates not farther than this (after scaling) from a chosen one count as the same goal.
        generator: of the random first goal.

    Returns:
        The indices of the chosen candidates ``[G]`` and which of them exist ``[G]``: there may be fewer distinct
        candidates than ``num_goals``.

    Example:
        >>> line = torch.linspace(0, 1, 5).unsqueeze(-1)
        >>> here = torch.ones(5, dtype=torch.bool)
        >>> index, exists = filter_goals(line, here, line[:1], 3, in_region=here, scale=torch.ones(1))
        >>> exists.all(), (index == 0).any() | (index == 4).any()
        (tensor(True), tensor(True))
    """
    points, targets = candidates * scale, goals * scale
    pool = valid & in_region
    some = pool.any()
    pool = torch.where(some, pool, valid)
    nearness = -torch.cat([_nearest(part, targets) for part in points.split(max(1, _PAIRS // len(targets)))])
    start = torch.rand(points.shape[0], device=points.device, generator=generator).to(points.dtype)
    nearest_chosen = torch.where(some, start, torch.full_like(start, torch.inf))
    chosen, exists = [], []
    for _ in range(num_goals):
        score = torch.where(some, nearest_chosen, nearness).masked_fill(~pool, -torch.inf)
        best = score.argmax(0, keepdim=True)  # keepdim: indexing with a 0-d tensor would synchronise
        exists.append(pool[best])
        chosen.append(best)
        distance = torch.linalg.vector_norm(points - points[best], dim=-1)
        nearest_chosen = torch.where(some & (len(chosen) == 1), distance, torch.minimum(nearest_chosen, distance))
        pool = pool & (nearest_chosen > resolution)
    return torch.cat(chosen), torch.cat(exists)


def _nearest(points: Tensor, targets: Tensor) -> Tensor:
    """Distance of each point ``[M, d]`` to the nearest target ``[K, d]``."""
    # Do not use matrix products: they lose small distances between goals far from the origin.
    return torch.cdist(points, targets, compute_mode="donot_use_mm_for_euclid_dist").amin(-1)


def distinct(candidates: Tensor, valid: Tensor) -> Tensor:
    """Mark the first of each set of equal valid candidates.

    Args:
        candidates: ``[M, d_g]``.
        valid: ``[M]``.

    Returns:
        Booleans ``[M]``.

    Example:
        >>> distinct(torch.tensor([[1.0], [1.0], [2.0]]), torch.ones(3, dtype=torch.bool))
        tensor([ True, False,  True])
    """
    _, group = torch.unique(candidates, dim=0, return_inverse=True)
    order = torch.arange(len(group), device=group.device)
    order = torch.where(valid, order, len(group))
    first = torch.full_like(order, len(group)).scatter_reduce(0, group, order, "amin")
    return valid & (first[group] == order)


def draw_later(eligible: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """For each step, draw one of the eligible steps at or after it, each with the same probability.

    Args:
        eligible: ``[*B, T]``.
        generator: source of randomness; default: torch's own.

    Returns:
        Steps ``[*B, T]``, and whether there was one to draw ``[*B, T]`` (where not, the step is the last).

    Example:
        >>> draw_later(torch.tensor([False, True, False]))
        (tensor([1, 1, 2]), tensor([ True,  True, False]))
    """
    count = eligible.cumsum(-1)
    before = count - eligible.long()
    ahead = count[..., -1:] - before
    offset = (torch.rand(eligible.shape, device=eligible.device, generator=generator) * ahead).long()
    # In float32 the product may round up to the number of eligible steps.
    wanted = before + torch.minimum(offset, (ahead - 1).clamp_min(0)) + 1
    index = torch.searchsorted(count, wanted)  # the first step at which the count exceeds the target
    return index.clamp_max(eligible.shape[-1] - 1), ahead > 0


def cut_at_first_success(success: Tensor, valid: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Find the end of each pair of goal and trajectory, and the live steps.

    Args:
        success: whether each step reaches the goal ``[*B, T]``.
        valid: which steps exist ``[*B, T]``.
        held: whether the goal already held before the first action ``[*B]``; such a pair has no live step.

    Returns:
        ``terminated``, the first success ``[*B, T]``, and ``live``, the steps up to and including it ``[*B, T]``.

    Example:
        >>> yes = torch.ones(3, dtype=torch.bool)
        >>> cut_at_first_success(torch.tensor([False, True, True]), yes, torch.tensor(False))
        (tensor([False,  True, False]), tensor([ True,  True, False]))
    """
    success = success & valid
    live = valid & ~beyond_end(success) & ~held.unsqueeze(-1)
    return success & live, live


def cumulative_log_ratio(
    log_ratio: Tensor, live: Tensor, per_decision: bool = True, window: int | None = None
) -> Tensor:
    r"""Cumulative goal ratio in log space: the logarithm of the product in eqs. 77-80.

    .. math:: \log \rho_t = \sum_{t - h < k \le t} \log \tilde\pi(a_k|s_k,g') - \log \tilde\pi(a_k|s_k,g)

    Args:
        log_ratio: ``[*B, T]``.
        live: ``[*B, T]``; other steps contribute nothing.
        per_decision: sum up to each step; otherwise over the whole trajectory.
        window: the number :math:`h` of last decisions in the sum up to a step. Default: all.

    Returns:
        ``[*B, T]``.

    Example:
        >>> cumulative_log_ratio(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, True, False]))
        tensor([1., 3., 3.])
        >>> cumulative_log_ratio(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3, dtype=torch.bool), window=2)
        tensor([1., 3., 5.])
    """
    log_ratio = torch.where(live, log_ratio, 0)
    if per_decision and window is not None and window < log_ratio.shape[-1]:
        # Not a difference of two sums: that is NaN after an impossible action.
        return F.pad(log_ratio, (window - 1, 0)).unfold(-1, window, 1).sum(-1)
    return log_ratio.cumsum(-1) if per_decision else log_ratio.sum(-1, keepdim=True).expand_as(log_ratio)


def trajectory_weights(
    log_ratio: Tensor, live: Tensor, included: Tensor | None = None, process_group: Group = None
) -> Tensor:
    r"""Weighted importance sampling: :math:`w_{j,i,t} = \rho_{j,i,t} / \sum_{i'} \rho_{j,i',t}` (eqs. 79, 80).

    Args:
        log_ratio: cumulative log-ratio ``[G, N, T]``.
        live: ``[G, N, T]``.
        included: which trajectories are in the sum ``[G, N, T]``; default: the live ones.
        process_group: processes with other trajectories, which are in the sum too.

    Returns:
        Weights ``[G, N, T]``, zero on dead steps: for each (goal, step) they sum to 1 over the trajectories that count,
        if all of those live.

    Example:
        >>> trajectory_weights(torch.zeros(1, 2, 1), torch.ones(1, 2, 1, dtype=torch.bool)).flatten()
        tensor([0.5000, 0.5000])
    """
    included = live if included is None else included
    masked = log_ratio.masked_fill(~included, -torch.inf)
    if process_group is None:
        weights = torch.softmax(masked, dim=1)
    else:
        weights = (masked - _all_logsumexp(masked.logsumexp(1, keepdim=True), process_group)).exp()
    # If all trajectories are impossible so far, the softmax is NaN: set 0. A NaN of the input stays NaN.
    return torch.where(live & (log_ratio != -torch.inf), weights, 0)


def _all_logsumexp(local: Tensor, group: Group) -> Tensor:
    """The logarithm of the sum over processes of ``exp(local)``."""
    most = all_max(local, group)
    most = torch.where(most == -torch.inf, 0, most)  # no process has a term
    return most + all_sum((local - most).exp(), group).log()
