"""Heads of discrete actions: textbook log-probabilities, and no forbidden action is drawn."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torchrl.data import MultiCategorical

from tests import oracles
from tests.cases import actor_with, trajectories
from torchrl_htrpo.hindsight import CumulativeGoalRatio
from torchrl_htrpo.modules import (
    CategoricalHead,
    MaskedCategoricalHead,
    MultiCategoricalHead,
    OneHotHead,
    make_actor,
)
from torchrl_htrpo.objectives import QKLLoss


def weights(actor):
    return list(actor.parameters())


def inputs(batch):
    return torch.cat((batch["observation"], batch["desired_goal"]), -1).reshape(-1, 5)


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


def test_masked_log_prob_is_that_of_a_softmax_over_the_allowed_actions():
    actor = actor_with("masked")
    batch = trajectories(actor=actor)
    mask, action = batch["action_mask"].reshape(-1, 4), batch["action"].reshape(-1)
    assert mask.gather(-1, action.unsqueeze(-1)).all() and not mask.all()
    chances = torch.where(mask, oracles.mlp(weights(actor), inputs(batch)).exp(), 0)
    expected = (chances[torch.arange(len(action)), action] / chances.sum(-1)).log()
    assert torch.allclose(batch["action_log_prob"].reshape(-1), expected, atol=1e-12)


def forbid_what_was_taken(batch, row):
    batch["action_mask"][row] = ~torch.nn.functional.one_hot(batch["action"][row], 4).bool()
    return batch


def test_a_mask_that_forbids_the_taken_action_is_refused_by_name():
    actor = actor_with("masked")
    batch = forbid_what_was_taken(trajectories(actor=actor), (1, 3))
    expected = r"MaskedCategoricalHead: mask must be true at the action that was taken, got 'false at row \[{}\]'"
    with pytest.raises(ValueError, match=expected.format("8")):
        CumulativeGoalRatio(actor)(batch.unsqueeze(0))
    with pytest.raises(ValueError, match=expected.format("1, 3")):
        QKLLoss(actor)(batch)


def test_padding_without_any_allowed_action_is_left_alone():
    actor = actor_with("masked")
    batch = trajectories(actor=actor, lengths=[5, 2, 4, 5])
    batch["action_mask"][~batch["collector", "mask"]] = False
    out = CumulativeGoalRatio(actor)(batch.unsqueeze(0))
    assert out["importance_weight"].isfinite().all() and QKLLoss(actor)(batch)["loss_qkl"].item() < 1e-14


def test_a_mask_that_allows_nothing_is_refused_when_acting():
    actor = actor_with("masked")
    batch = trajectories(actor=actor)
    with pytest.raises(ValueError, match="MaskedCategoricalHead: mask must be true somewhere in every row"):
        actor(batch.set("action_mask", torch.zeros(4, 5, 4, dtype=torch.bool)))


def test_the_mask_may_stand_under_another_key():
    actor = make_actor(MaskedCategoricalHead(4, mask_key=("info", "allowed")), 5, (6,)).double()
    batch = trajectories()
    batch["info", "allowed"] = (torch.arange(4) == 3).expand(4, 5, 4)
    assert ("info", "allowed") in actor.in_keys and (actor(batch)["action"] == 3).all()


def test_choices_are_independent_and_their_probabilities_sum_to_one():
    actor = actor_with("multi_categorical")
    batch = trajectories(1, 1, actor=actor)
    every = torch.tensor(list(itertools.product(range(4), range(2), range(3))))
    dist = actor.get_dist(batch.select(*actor.in_keys)[0].expand(24))
    chances = dist.log_prob(every).exp()
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-12)
    features = oracles.mlp(weights(actor), inputs(batch))[0].split([4, 2, 3])
    expected = [sum(part.log_softmax(-1)[i] for part, i in zip(features, row, strict=True)).exp() for row in every]
    assert torch.allclose(chances, torch.stack(expected), atol=1e-12)


def test_options_that_do_not_exist_are_never_drawn():
    actor = actor_with("multi_categorical")
    action = actor(trajectories(40, 50))["action"]
    assert action.flatten(0, 1).amax(0).tolist() == [3, 1, 2]
    assert MultiCategorical([4, 2, 3]).is_in(action[0, 0])


@pytest.mark.parametrize(("sizes", "expected"), [([], "the options of each choice"), ([3, 0], "a positive integer")])
def test_a_choice_needs_options(sizes, expected):
    with pytest.raises(ValueError, match=f"MultiCategoricalHead: num_actions must be {expected}"):
        MultiCategoricalHead(sizes)


HEADS = [(OneHotHead(4, uniform_share=0.2), 4), (MultiCategoricalHead([4, 2], uniform_share=0.2), 6)]


@pytest.mark.parametrize(("head", "size"), HEADS)
def test_a_share_of_the_uniform_distribution_is_mixed_in(head, size):
    features = torch.randn(3, size, dtype=torch.float64) * 10
    parts = features.split([4, 2] if size == 6 else [4], -1)
    found = head(features).softmax(-1).reshape(3, len(parts), 4)
    for choice, part in enumerate(parts):
        options = part.shape[-1]
        expected = 0.8 * part.softmax(-1) + 0.2 / options
        assert torch.allclose(found[:, choice, :options], expected, atol=1e-12)
        assert (found[:, choice, options:] == 0).all()


@pytest.mark.parametrize(("head", "size"), HEADS)
def test_a_uniform_share_keeps_every_action_possible_and_log_probs_finite(head, size):
    features = torch.zeros(size, dtype=torch.float64)
    features[0] = 1e4
    features.requires_grad_()
    log_probs = head(features).log_softmax(-1).reshape(-1, 4)
    assert log_probs[0, 1].item() == pytest.approx(math.log(0.05), abs=1e-9)
    log_probs[log_probs.isfinite()].sum().backward()
    assert features.grad.isfinite().all()


def test_forbidden_actions_get_nothing_of_the_uniform_share():
    actor = make_actor(MaskedCategoricalHead(4, uniform_share=0.5), 5, (6,)).double()
    batch = trajectories(60, 50)
    batch["action_mask"] = (torch.arange(4) < 2).expand(60, 50, 4)
    assert actor(batch)["action"].unique().tolist() == [0, 1]


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(ValueError, match=r"CategoricalHead: uniform_share must be in \[0, 1\), got"):
        CategoricalHead(4, uniform_share=share)
