"""Contracts of every head."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs import ExplorationType, set_exploration_type

from tests.cases import ALL_HEADS, actor_with, trajectories
from torchrl_htrpo.modules import PolicyHead, action_log_prob, make_actor

DETERMINISTIC = pytest.mark.filterwarnings("error:deterministic_sample wasn't found")


@pytest.mark.parametrize("head", ALL_HEADS)
def test_actions_and_log_probs_have_the_shape_of_the_batch(head):
    actor = actor_with(head)
    batch = trajectories(3, 4, actor=actor)
    assert batch["action_log_prob"].shape == (3, 4) and batch["action_log_prob"].isfinite().all()
    assert actor.log_prob_keys == ["action_log_prob"]
    assert all(batch[key].shape[:2] == (3, 4) for key in actor.dist_sample_keys)


@DETERMINISTIC
@pytest.mark.parametrize("head", ALL_HEADS)
def test_the_greedy_action_is_defined_and_always_the_same(head):
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        one, two = actor(batch.clone()), actor(batch.clone())
    assert all(torch.equal(one[key], two[key]) for key in actor.dist_sample_keys)
    assert any(not torch.equal(one[key], batch[key]) for key in actor.dist_sample_keys)


@DETERMINISTIC
@pytest.mark.parametrize("head", ["categorical", "one_hot", "masked", "multi_categorical"])
def test_the_greedy_discrete_action_is_the_likeliest(head):
    actor = actor_with(head)
    batch = trajectories(40, 5, actor=actor)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        greedy = actor(batch.clone())
    assert (action_log_prob(actor, greedy) >= batch["action_log_prob"] - 1e-12).all()


class Laplace(torch.distributions.Independent):
    """A custom distribution."""

    def __init__(self, loc, scale):
        super().__init__(torch.distributions.Laplace(loc, scale), 1)


class LaplaceHead(PolicyHead):
    distribution_class, param_keys = Laplace, ("loc", "scale")

    def forward(self, features):
        loc, scale = features.chunk(2, -1)
        return loc, scale.exp()


def test_a_custom_head_needs_a_distribution_and_the_names_of_its_arguments():
    actor = make_actor(LaplaceHead(4), 5, (6,))
    td = TensorDict(observation=torch.randn(7, 3), desired_goal=torch.randn(7, 2), batch_size=[7])
    out = actor(td)
    loc, scale = out["loc"], out["scale"]
    expected = (-(out["action"] - loc).abs() / scale - (2 * scale).log()).sum(-1)
    assert torch.allclose(out["action_log_prob"], expected, atol=1e-6)
