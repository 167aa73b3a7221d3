"""Heads of unimodal continuous actions: textbook log-probabilities."""

from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict

from tests import oracles
from tests.cases import actor_with, trajectories
from torchrl_htrpo.modules import FullCovarianceHead, GaussianHead, TanhNormalHead


def weights(actor):
    return list(actor.parameters())


def inputs(batch):
    return torch.cat((batch["observation"], batch["desired_goal"]), -1).reshape(-1, 5)


def test_gaussian_log_prob_is_that_of_a_bounded_mean_and_a_free_scale():
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor)
    log_scale = actor[0].module.layers[1].log_scale
    layers = [parameter for parameter in weights(actor) if parameter is not log_scale]
    expected = oracles.gaussian_log_prob([*layers, log_scale], inputs(batch), batch["action"].reshape(-1, 2))
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-12)


def test_gaussian_scale_has_a_floor_and_its_mean_may_be_free():
    head = GaussianHead(2, min_scale=0.3, bound_mean=False)
    with torch.no_grad():
        head.log_scale.fill_(-20.0)
    loc, scale = head(torch.tensor([[5.0, -7.0]]))
    assert loc.tolist() == [[5.0, -7.0]] and scale.tolist() == [[pytest.approx(0.3)] * 2]


def test_tanh_normal_log_prob_is_the_change_of_variables():
    actor = actor_with("tanh_normal")
    batch = trajectories(actor=actor)
    action = batch["action"].reshape(-1, 2)
    assert action.abs().max() < 1
    loc, scale = actor[0].module(batch["observation"].reshape(-1, 3), batch["desired_goal"].reshape(-1, 2))
    before = torch.atanh(action)
    density = -((before - loc) ** 2) / (2 * scale**2) - scale.log() - 0.5 * math.log(2 * math.pi)
    expected = (density - torch.log(1 - action**2)).sum(-1)
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-6)
    assert (TanhNormalHead(2, min_scale=0.2)(torch.full((1, 4), -50.0))[1] >= 0.2 - 1e-6).all()


def test_full_covariance_log_prob_is_that_of_the_matrix():
    actor = actor_with("full_covariance")
    batch = trajectories(actor=actor)
    loc, lower = actor[0].module(batch["observation"].reshape(-1, 3), batch["desired_goal"].reshape(-1, 2))
    assert (lower.triu(1) == 0).all() and lower[:, 1, 0].abs().max() > 1e-3 and loc.abs().max() < 1
    covariance = lower @ lower.mT
    apart = batch["action"].reshape(-1, 2) - loc
    square = (apart.unsqueeze(-2) @ covariance.inverse() @ apart.unsqueeze(-1)).flatten()
    expected = -0.5 * (square + torch.logdet(covariance) + 2 * math.log(2 * math.pi))
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-10)


def test_full_covariance_has_a_floor_a_free_mean_and_takes_one_dimension():
    head = FullCovarianceHead(2, min_scale=0.3, bound_mean=False)
    loc, lower = head(torch.tensor([[5.0, -7.0, -50.0, -50.0, 0.4]]))
    assert loc.tolist() == [[5.0, -7.0]]
    assert torch.allclose(lower, torch.tensor([[0.3, 0.0], [0.4, 0.3]]))
    assert FullCovarianceHead(1)(torch.zeros(4, 2))[1].shape == (4, 1, 1)


def test_every_entry_below_the_diagonal_has_a_feature_of_its_own():
    below = FullCovarianceHead(4)(torch.cat((torch.zeros(8), torch.arange(1.0, 7.0))))[1].tril(-1)
    assert sorted(below[below != 0].tolist()) == [1, 2, 3, 4, 5, 6]


def test_a_scale_that_begins_below_its_floor_is_refused():
    with pytest.raises(ValueError, match=r"init_scale.*at least min_scale = 0.1.*0.05"):
        GaussianHead(2, init_scale=0.05)


def test_dimensions_at_the_floor_are_counted():
    head = GaussianHead(4)
    with torch.no_grad():
        head.log_scale[1] = -3.0
    loc, scale = head(torch.zeros(5, 4))
    assert head.metrics(TensorDict(loc=loc, scale=scale)) == {"collapsed_share": torch.tensor(0.25)}
    assert set(head.warnings) == {"collapsed_share"}
