"""Every head gives a distribution whose log-probability is the textbook's."""

from __future__ import annotations

import math

import pytest
import torch

from tests import oracles
from tests.cases import HEADS, actor_with, trajectories
from torchrl_htrpo.modules import GaussianHead, OneHotHead, TanhNormalHead


def weights(actor):
    return list(actor.parameters())


def inputs(batch):
    return torch.cat((batch["observation"], batch["desired_goal"]), -1).reshape(-1, 5)


@pytest.mark.parametrize("head", HEADS)
def test_actions_and_log_probs_have_the_shape_of_the_batch(head):
    batch = trajectories(3, 4, actor=actor_with(head))
    assert batch["action_log_prob"].shape == (3, 4)
    assert batch["action"].shape[:2] == (3, 4) and batch["action_log_prob"].isfinite().all()


def test_categorical_log_prob_is_that_of_a_softmax():
    actor = actor_with("categorical")
    batch = trajectories(actor=actor)
    expected = oracles.categorical_log_prob(weights(actor), inputs(batch), batch["action"].reshape(-1))
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-12)


def test_one_hot_log_prob_is_that_of_the_index():
    actor = actor_with("one_hot")
    batch = trajectories(actor=actor)
    action = batch["action"].reshape(-1, 4)
    assert (action.sum(-1) == 1).all() and OneHotHead(4).param_keys == ("logits",)
    expected = oracles.categorical_log_prob(weights(actor), inputs(batch), action.int().argmax(-1))
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-12)


def test_gaussian_log_prob_is_that_of_a_bounded_mean_and_a_free_scale():
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor)
    log_scale = actor[0].module.layers[1].log_scale
    layers = [parameter for parameter in weights(actor) if parameter is not log_scale]
    expected = oracles.gaussian_log_prob([*layers, log_scale], inputs(batch), batch["action"].reshape(-1, 2))
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-12)


def test_gaussian_scale_has_a_floor_and_its_mean_may_be_free():
    head = GaussianHead(2, init_scale=1e-9, min_scale=0.3, bound_mean=False)
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
