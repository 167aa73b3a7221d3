"""Hindsight Goal Filtering on batches."""

from __future__ import annotations

import pytest
import torch

from tests import oracles
from tests.cases import trajectories
from tests.hindsight.test_goal_sampler import chosen, rows
from torchrl_htrpo.checks import set_checks
from torchrl_htrpo.hindsight import HGFGoalSampler


def continuous(num=4, steps=6, shift=0.0):
    batch = trajectories(num, steps)
    batch["next", "achieved_goal"] = torch.randn(num, steps, 2, dtype=torch.float64) + shift
    batch["desired_goal"] = torch.randn(num, 1, 2, dtype=torch.float64).expand(num, steps, 2).clone()
    return batch


@pytest.mark.parametrize("distance", ["density", "euclidean"])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_the_sampler_is_algorithm_2(distance, shift):
    batch = continuous(shift=shift)
    candidates = batch["next", "achieved_goal"].reshape(-1, 2)
    originals = batch["desired_goal"][:, 0]
    scale = oracles.density_scale(originals) if distance == "density" else [1.0, 1.0]
    goals = chosen(HGFGoalSampler(5, distance=distance)(batch))
    start = (candidates == goals[0]).all(-1).nonzero().item()
    assert goals.tolist() == candidates[oracles.hgf(candidates, originals, 5, scale, start)].tolist()


def test_goals_stay_in_the_region_of_the_original_ones():
    batch = continuous(8, 10)
    originals = batch["desired_goal"][:, 0]
    goals = chosen(HGFGoalSampler(80)(batch))
    inside = [oracles.inside_box(candidate, originals) for candidate in batch["next", "achieved_goal"].reshape(-1, 2)]
    assert all(oracles.inside_box(goal, originals) for goal in goals)
    assert 0 < len(goals) == sum(inside) < len(inside)


def test_padding_is_no_original_goal():
    batch = continuous(3, 10)
    goals = rows(chosen(HGFGoalSampler(50)(batch)))
    padded = torch.cat((batch, batch[:1].clone().apply(torch.zeros_like)))
    padded["next", "achieved_goal"][3] = batch["next", "achieved_goal"][0]
    padded["desired_goal"][3] = 9.0
    padded["collector", "mask"] = torch.tensor([[True]] * 3 + [[False]]).expand(4, 10)
    assert rows(chosen(HGFGoalSampler(50)(padded))) == goals


def test_the_region_is_a_parameter():
    goals = chosen(HGFGoalSampler(50, region=lambda candidates, _: candidates[:, 0] > 0)(continuous()))
    assert (goals[:, 0] > 0).all()


def test_one_trajectory_still_gives_goals_that_cover():
    assert len(rows(chosen(HGFGoalSampler(4)(continuous(1, 6))))) == 4


def test_the_resolution_keeps_goals_apart():
    goals = chosen(HGFGoalSampler(50, distance="euclidean", resolution=0.5)(continuous(8, 10)))
    assert torch.pdist(goals).min() > 0.5


def test_a_seeded_generator_repeats_the_draw():
    batch = continuous()
    draws = [chosen(HGFGoalSampler(5, generator=torch.Generator().manual_seed(3))(batch)) for _ in range(2)]
    assert torch.equal(*draws)


def test_float32_and_float64_choose_the_same_goals():
    batch = continuous()
    half = batch.clone().apply(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf)
    goals = [chosen(HGFGoalSampler(8, generator=torch.Generator().manual_seed(3))(b)) for b in (batch, half)]
    assert torch.equal(goals[0].float(), goals[1])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_goals": 0}, "HGFGoalSampler: num_goals must be a positive integer, got 0"),
        (
            {"num_goals": 1, "distance": "cosine"},
            r"HGFGoalSampler: distance must be one of the choices, got 'cosine' \(choices: 'euclidean', 'density'\)",
        ),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        HGFGoalSampler(**kwargs)


@pytest.mark.parametrize("distance", ["density", "euclidean"])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_the_choice_does_not_depend_on_checks(distance, shift):
    batch, draws = continuous(shift=shift), []
    for mode in ("sync", "off"):
        with set_checks(mode):
            sampler = HGFGoalSampler(5, distance=distance, generator=torch.Generator().manual_seed(3))
            draws.append(chosen(sampler(batch)))
    assert torch.equal(*draws)
