"""HGF over several processes, each of which proposes a bounded number of candidates."""

from __future__ import annotations

from itertools import combinations
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from tests import oracles
from tests.hindsight.test_goal_sampler import chosen, rows
from tests.processes import needs_gloo, together
from torchrl_htrpo.distributed import Group
from torchrl_htrpo.hindsight import HGFGoalSampler

KINDS = {"euclidean": [1.0, 1.0], "density": None}
CASES = [(seed, kind, most) for seed in range(12) for kind in KINDS for most in (3, 4)]


class Proposals(HGFGoalSampler):
    """HGF that keeps what this process proposed."""

    def propose(self, candidates: Tensor, valid: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        self.proposed, exists = super().propose(candidates, valid, goals)
        return self.proposed, exists


def batch_of(seed: int, rank: int, trajectories: int = 2, steps: int = 4, shift: float = 0.0) -> TensorDictBase:
    """Achieved goals in a few clusters, whose sizes and distances differ by orders of magnitude; some outside."""
    torch.manual_seed(100 * seed + rank)
    size = trajectories, steps
    scale = 10.0 ** -torch.randint(0, 4, (*size, 1)).double()
    corner = torch.randint(0, 2, (*size, 2)).double() * 0.9
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64).repeat(trajectories, 1)[:trajectories]
    achieved = corner * scale + 0.1 * scale * torch.rand(*size, 2, dtype=torch.float64) + shift
    desired = corners.unsqueeze(1).expand(*size, 2).clone()
    return TensorDict({"desired_goal": desired, "next": {"achieved_goal": achieved}}, batch_size=size)


def choices(rank: int, group: Group) -> dict[Any, tuple[Tensor, Tensor]]:
    """What this process gets, and what it proposed, in every case."""
    found = {}
    for seed, kind, most in CASES:
        sampler = Proposals(3, distance=kind, max_candidates=most, process_group=group)
        batch = sampler(batch_of(seed, rank))
        found[seed, kind, most] = chosen(batch), sampler.proposed
    for name, shifts in {"nowhere": [5.0] * 3, "in one process": [0.0, 5.0, 5.0]}.items():
        batch = HGFGoalSampler(5, max_candidates=6, process_group=group)(batch_of(0, rank, shift=shifts[rank]))
        found[name] = chosen(batch), torch.empty(0)
    found["messages"] = torch.tensor([[gathered(rank, group, most, steps) for steps in (8, 80)] for most in (3, None)])
    return found


def gathered(rank: int, group: Group, most: int | None, steps: int) -> int:
    """The bytes that this process sends to the others for a choice."""
    sent, gather = [], dist.all_gather

    def counting(parts: list[Tensor], own: Tensor, **settings: Any) -> Any:
        sent.append(own.nbytes)
        return gather(parts, own, **settings)

    with mock.patch.object(dist, "all_gather", counting):
        HGFGoalSampler(3, max_candidates=most, process_group=group)(batch_of(0, rank, steps=steps))
    return sum(sent)


@pytest.fixture(scope="module", params=[2, 3])
def of_processes(request) -> list[dict[Any, tuple[Tensor, Tensor]]]:
    return together(choices, request.param)


def inside(batch: TensorDictBase) -> Tensor:
    points = batch["next", "achieved_goal"].reshape(-1, 2)
    return points[torch.tensor([oracles.inside_box(point, batch["desired_goal"][:, 0]) for point in points])]


def radius(points: Tensor, centers: Tensor) -> float:
    return (points.unsqueeze(1) - centers).square().sum(-1).sqrt().amin(1).max().item()


@needs_gloo
def test_the_goals_cover_as_well_as_the_proof_says(of_processes):
    worst = 0.0
    for seed, kind, most in CASES:
        (goals, _), *others = found = [each[seed, kind, most] for each in of_processes]
        assert all(torch.equal(goals, other) for other, _ in others)
        parts = [inside(batch_of(seed, rank)) for rank in range(len(found))]
        everything = torch.cat(parts)
        assert rows(goals) <= rows(everything)
        assert len(goals) == len(rows(goals)) == 3
        assert all(len(own) == most for _, own in found)
        scale = KINDS[kind] or oracles.density_scale(batch_of(seed, 0)["desired_goal"][:, 0])
        goals, everything = goals * torch.tensor(scale), everything * torch.tensor(scale)
        parts, owns = ([part * torch.tensor(scale) for part in some] for some in (parts, [own for _, own in found]))
        reached = radius(everything, goals)
        proposed = max(radius(part, own) for part, own in zip(parts, owns, strict=True))
        assert reached <= radius(torch.cat(owns), goals) + proposed + 1e-12
        best = min(radius(everything, everything[list(some)]) for some in combinations(range(len(everything)), 3))
        assert reached <= 4 * best
        worst = max(worst, reached / best)
    assert worst > 1.0  # the choice is not always the best one, so there is something to bound


@needs_gloo
def test_the_region_is_that_of_all_processes(of_processes):
    shifts = [0.0, 5.0, 5.0][: len(of_processes)]
    batches = [batch_of(0, rank, shift=shift) for rank, shift in enumerate(shifts)]
    for each in of_processes:
        assert rows(each["in one process"][0]) <= rows(inside(batches[0]))
    outside = torch.cat([batch_of(0, rank, shift=5.0) for rank in range(len(of_processes))])
    points, originals = outside["next", "achieved_goal"].reshape(-1, 2), outside["desired_goal"][:, 0]
    nearest = points[oracles.hgf(points, originals, 5, [1.0, 1.0], None)]
    assert all(torch.equal(each["nowhere"][0], nearest) for each in of_processes)


@needs_gloo
def test_messages_do_not_grow_with_the_candidates(of_processes):
    for each in of_processes:
        (few, still_few), (all_of_few, all_of_many) = each["messages"].tolist()
        assert few == still_few < all_of_few < all_of_many
        # Original goals and proposals: two or three goals of two numbers, a flag for each, four counts of rows.
        assert few == 2 * (2 * 8 + 1) + 3 * (2 * 8 + 1) + 4 * 8


def test_one_process_chooses_among_all():
    goals = []
    for most in (None, 4):
        generator = torch.Generator().manual_seed(1)
        goals.append(chosen(HGFGoalSampler(3, max_candidates=most, generator=generator)(batch_of(0, 0, steps=20))))
    assert torch.equal(*goals)


@pytest.mark.parametrize(("most", "error"), [(2, ValueError), (0, ValueError), (3.5, ValueError), (True, TypeError)])
def test_fewer_candidates_than_goals_are_refused(most, error):
    with pytest.raises(error, match="HGFGoalSampler: max_candidates must be an integer of at least 3, got"):
        HGFGoalSampler(3, max_candidates=most)
