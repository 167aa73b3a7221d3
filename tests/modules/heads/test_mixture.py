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
def test_between_two_modes_no_action_is_greedy(kind):
    mixture = kind(torch.tensor([0.1, 0.0]), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), 0.1))
    assert mixture.deterministic_sample.item() < -0.7
    sample = mixture.sample((1000,))
    assert (sample.abs() > 0.4).all() and 300 < (sample > 0).sum() < 700


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


def test_a_mixture_needs_components():
    with pytest.raises(ValueError, match="GaussianMixtureHead: num_components must be a positive integer, got 0"):
        GaussianMixtureHead(2, 0)
