"""Importance weights of trajectories that an older policy collected, against enumeration."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.hindsight import CumulativeGoalRatio
from torchrl_htrpo.modules import CategoricalHead, make_actor

BITS, STEPS = 3, 2


def policy(seed):
    torch.manual_seed(seed)
    actor = make_actor(CategoricalHead(BITS), 2 * BITS, (5,)).double()
    for parameter in actor.parameters():
        torch.nn.init.normal_(parameter)
    return actor


def every_trajectory(goal):
    """All sequences of flips from zero, ``[9, 2]``: bit ``a`` of the state is flipped."""
    actions = torch.tensor(list(product(range(BITS), repeat=STEPS)))
    flips = torch.nn.functional.one_hot(actions, BITS).cumsum(1) % 2
    states = torch.cat((torch.zeros_like(flips[:, :1]), flips[:, :-1]), 1).double()
    return TensorDict(
        observation=states, desired_goal=goal.expand_as(states), action=actions, batch_size=list(actions.shape)
    )


def log_probs(actor, trajectories):
    with torch.no_grad():
        return actor.get_dist(trajectories).log_prob(trajectories["action"])


@pytest.mark.parametrize("age", range(3))
def test_one_ratio_corrects_for_the_goal_and_for_the_age_of_a_trajectory(age):
    own, hindsight = torch.tensor([1.0, 0.0, 1.0]).double(), torch.tensor([0.0, 1.0, 1.0]).double()
    old, now = policy(10 + age), policy(0)
    collected = every_trajectory(own)
    collected["action_log_prob"] = log_probs(old, collected)
    chance = collected["action_log_prob"].cumsum(-1).exp()

    relabelled = collected.copy().set("desired_goal", hindsight.expand_as(collected["observation"]))
    out = CumulativeGoalRatio(now, weighted=False)(relabelled.unsqueeze(0))
    expected = log_probs(now, relabelled).cumsum(-1).exp()
    ratio = CumulativeGoalRatio(now, weighted=False).ratio(
        out["action_log_prob"] - out["original_log_prob"], torch.ones(1, 9, STEPS, dtype=torch.bool)
    )[0]
    # Importance sampling is unbiased: each trajectory's chance under the old policy times its ratio is its chance now.
    assert torch.allclose(chance * ratio, expected, atol=1e-12)
    assert not torch.allclose(ratio, torch.ones_like(ratio), atol=0.1)


def test_weights_over_batches_of_several_policies_estimate_the_current_one():
    torch.manual_seed(0)
    own, hindsight = torch.tensor([1.0, 0.0, 1.0]).double(), torch.tensor([0.0, 1.0, 1.0]).double()
    now, batches = policy(0), []
    everything = every_trajectory(own)
    for old in (policy(11), policy(12), now):
        log_prob = log_probs(old, everything)
        index = torch.multinomial(log_prob.sum(-1).exp(), 40_000, replacement=True)
        batches.append(everything[index].set("action_log_prob", log_prob[index]))
    stored = torch.cat(batches)
    stored["desired_goal"] = hindsight.expand_as(stored["observation"])
    weight = CumulativeGoalRatio(now, gamma=1.0)(stored.unsqueeze(0))["importance_weight"][0]

    value = stored["action"].double() + 2 * stored["observation"][..., 0]
    target = everything.copy().set("desired_goal", hindsight.expand_as(everything["observation"]))
    chance = log_probs(now, target).sum(-1).exp().unsqueeze(-1)
    expected = (chance * (everything["action"].double() + 2 * everything["observation"][..., 0])).sum(0)
    for step in range(STEPS):
        estimate = (weight * value)[:, step].sum() / weight[:, step].sum()
        assert estimate == pytest.approx(expected[step].item(), abs=0.03)
