"""Mixtures: their log-probability is a weighted sum, their greedy action a mode and not the mean."""

from __future__ import annotations

import math

import pytest
import torch
from torchrl.envs import ExplorationType, set_exploration_type

from tests.cases import actor_with, trajectories
from torchrl_htrpo.modules import GaussianMixtureHead, TanhGaussianMixtureHead
from torchrl_htrpo.modules.heads.mixture import GaussianMixture, TanhGaussianMixture


def parameters_of(actor, batch):
    return actor[0].module(batch["observation"].reshape(-1, 3), batch["desired_goal"].reshape(-1, 2))


@pytest.mark.parametrize("head", ["mixture", "tanh_mixture"])
def test_log_prob_is_the_weighted_sum_of_the_components_densities(head):
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    logits, loc, scale = parameters_of(actor, batch)
    action = batch["action"].reshape(-1, 1, 2)
    squashed = head == "tanh_mixture"
    before = torch.atanh(action) if squashed else action
    density = (-((before - loc) ** 2) / (2 * scale**2)).exp() / (scale * math.sqrt(2 * math.pi))
    density = (density / (1 - action**2) if squashed else density).prod(-1)
    expected = (density * logits.softmax(-1)).sum(-1).log()
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-6 if squashed else 1e-12)
    assert not squashed or action.abs().max() < 1


@pytest.mark.parametrize("head", ["mixture", "tanh_mixture"])
def test_the_greedy_action_is_the_centre_of_the_likeliest_component(head):
    actor = actor_with(head)
    batch = trajectories(6, 5)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        action = actor(batch)["action"].reshape(-1, 2)
    logits, loc, _ = parameters_of(actor, batch)
    centres = loc.tanh() if head == "tanh_mixture" else loc
    expected = torch.stack([centre[weight.argmax()] for centre, weight in zip(centres, logits, strict=True)])
    assert torch.allclose(action, expected, atol=1e-12) and len(logits.argmax(-1).unique()) > 1


@pytest.mark.parametrize("kind", [GaussianMixture, TanhGaussianMixture])
def test_the_greedy_action_is_not_between_two_modes(kind):
    mixture = kind(torch.tensor([0.1, 0.0]), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), 0.1))
    assert mixture.deterministic_sample.item() < -0.7
    sample = mixture.sample((1000,))
    assert (sample.abs() > 0.4).all() and 300 < (sample > 0).sum() < 700


@pytest.mark.parametrize("kind", [GaussianMixture, TanhGaussianMixture])
@pytest.mark.parametrize("apart", [0.02, 0.3, 2.0])
def test_the_mode_is_the_highest_point_uphill_of_the_greedy_action(kind, apart):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    loc = apart * torch.randn(40, 3, 1, generator=generator, dtype=torch.float64)
    scale = torch.full_like(loc, 0.25)
    mixture, before = kind(logits, loc, scale), GaussianMixture(logits, loc, scale)
    grid = torch.linspace(-8, 8, 16001, dtype=torch.float64).expand(40, -1)
    heights = torch.stack([before.log_prob(column.unsqueeze(-1)) for column in grid.T], -1)
    start = before.deterministic_sample[:, 0]
    expected = torch.stack([uphill(*row) for row in zip(grid, heights, start, strict=True)])
    found = mixture.mode[:, 0]
    found = torch.atanh(found) if kind is TanhGaussianMixture else found
    assert torch.allclose(found, expected, atol=0.02)


def uphill(grid, heights, start):
    """Walk a grid uphill from a point, to the next top."""
    place = int((grid - start).abs().argmin())
    while 0 < place < len(grid) - 1 and max(heights[place - 1], heights[place + 1]) > heights[place]:
        place += 1 if heights[place + 1] > heights[place - 1] else -1
    return grid[place]


def test_the_mode_of_separate_components_is_greedy_and_of_overlapping_ones_near_the_mean():
    logits, loc = torch.tensor([0.1, 0.0]), torch.tensor([[-1.0, 0.5], [1.0, 0.2]])
    apart = GaussianMixture(logits, loc, torch.full((2, 2), 0.1))
    overlapping = GaussianMixture(logits, 0.01 * loc, torch.ones(2, 2))
    assert torch.allclose(apart.mode, apart.deterministic_sample)
    assert torch.allclose(overlapping.mode, overlapping.mean, atol=1e-5)
    assert not torch.allclose(overlapping.deterministic_sample, overlapping.mean, atol=1e-3)


@pytest.mark.parametrize("head", ["mixture", "tanh_mixture"])
def test_a_policy_acts_by_its_mode_where_the_mode_is_asked_for(head):
    actor, batch = actor_with(head), trajectories(6, 5)
    with set_exploration_type(ExplorationType.MODE):
        action = actor(batch)["action"]
    assert torch.equal(action, actor.get_dist(batch).mode)


@pytest.mark.parametrize("head_class", [GaussianMixtureHead, TanhGaussianMixtureHead])
def test_every_component_keeps_its_least_weight_and_a_gradient(head_class):
    head = head_class(2, 3, min_weight=0.1).double()
    features = torch.zeros(1, 15, dtype=torch.float64)
    features[0, :3] = torch.tensor([3.0, 0.0, -800.0])
    features.requires_grad_()
    logits = head(features)[0]
    expected = 0.1 + 0.7 * features[:, :3].softmax(-1)
    assert torch.allclose(logits.softmax(-1), expected) and logits.exp().min() >= 0.1
    (slope,) = torch.autograd.grad(logits[0, 1], features)
    assert slope.isfinite().all() and slope[0, 1] > 0


def test_components_start_on_either_side_of_the_middle():
    offset = GaussianMixtureHead(3, 5, spread=0.7).offset
    assert torch.allclose(offset.mean(0), torch.zeros(3), atol=1e-6)
    assert 0.2 < offset.std() < 1.4


def test_components_start_apart_and_weights_means_and_scales_depend_on_the_state():
    logits, loc, scale = GaussianMixtureHead(2, 4)(torch.zeros(1, 20))
    assert (logits == 0).all() and torch.allclose(scale, torch.ones(1, 4, 2))
    assert torch.cdist(loc[0], loc[0])[0, 1:].min() > 0.01 and loc.abs().max() < 1
    one, two = GaussianMixtureHead(2, 4)(torch.randn(2, 20))[0]
    assert not torch.equal(one, two)
    _, loc, scale = GaussianMixtureHead(2, 4, bound_mean=False)(3 * torch.randn(50, 20))
    assert loc.abs().max() > 1 and scale.std() > 0.1


@pytest.mark.parametrize("head_class", [GaussianMixtureHead, TanhGaussianMixtureHead])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_component_at_its_floor_is_reported_and_stays_finite(head_class, dtype):
    head = head_class(2, 2, min_scale=0.3).to(dtype)
    features = torch.zeros(1, 10, dtype=dtype)
    features[0, 4:6] = -80.0  # the scales of the first component
    features.requires_grad_()
    logits, loc, scale = head(features)
    assert head.collapsed(scale).tolist() == [[True, False]]
    log_prob = head.distribution_class(logits, loc, scale).log_prob(torch.full((1, 2), 0.5, dtype=dtype))
    (slope,) = torch.autograd.grad(log_prob.sum(), features)
    assert log_prob.isfinite().all() and slope.isfinite().all() and slope[0, 2:4].any()


@pytest.mark.parametrize("min_weight", [-0.1, 0.5, 1.0])
def test_least_weights_must_sum_to_less_than_one(min_weight):
    with pytest.raises(ValueError, match=r"TanhGaussianMixtureHead: min_weight must be in \[0, 0.5\), got"):
        TanhGaussianMixtureHead(2, 2, min_weight=min_weight)
