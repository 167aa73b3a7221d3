"""Mixed actions: one log-probability, regardless of the global setting."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, set_composite_lp_aggregate

from tests.cases import actor_with, trajectories
from torchrl_htrpo.modules import (
    CategoricalHead,
    GaussianHead,
    MaskedCategoricalHead,
    MixedHead,
    MultiCategoricalHead,
    TanhNormalHead,
    action_log_prob,
    make_actor,
)
from torchrl_htrpo.objectives import QKLLoss


def test_the_log_prob_is_the_sum_of_the_parts():
    actor = actor_with("mixed")
    batch = trajectories(actor=actor)
    dist = actor.get_dist(batch.select(*actor.in_keys))
    parts = [dist[key].log_prob(batch[key]) for key in actor.dist_sample_keys]
    assert actor.dist_sample_keys == [("action", "gear"), ("action", "push")]
    assert torch.allclose(batch["action_log_prob"], parts[0] + parts[1], atol=1e-14)


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_the_global_switch_makes_no_difference(built, used):
    with set_composite_lp_aggregate(built):
        actor = actor_with("mixed")
    with set_composite_lp_aggregate(used):
        batch = trajectories(actor=actor)
        assert actor.log_prob_keys == ["action_log_prob"]
        assert torch.equal(action_log_prob(actor, batch), batch["action_log_prob"])
        assert torch.allclose(actor.log_prob(batch), batch["action_log_prob"])
        assert QKLLoss(actor)(batch)["loss_qkl"].item() == 0
    assert set(batch["action"].keys()) == {"gear", "push"}
    assert set(batch.keys()) >= {"action", "action_log_prob", "observation"}


def test_the_action_may_stand_under_a_nested_key():
    head = MixedHead({"gear": CategoricalHead(3), "push": TanhNormalHead(2), "tools": MultiCategoricalHead([2, 3])})
    actor = make_actor(head, 5, (6,), action_key=("agent", "action"))
    td = actor(TensorDict(observation=torch.zeros(4, 3), desired_goal=torch.zeros(4, 2), batch_size=[4]))
    assert actor.log_prob_keys == [("agent", "action_log_prob")] and td["agent", "action_log_prob"].shape == (4,)
    shapes = {key: tuple(value.shape) for key, value in td["agent", "action"].items()}
    assert shapes == {"gear": (4,), "push": (4, 2), "tools": (4, 2)}
    assert td["agent", "action", "push"].abs().max() <= 1
    assert torch.allclose(action_log_prob(actor, td), td["agent", "action_log_prob"], atol=1e-6)


def test_an_actor_with_a_log_prob_for_each_part_is_refused():
    actor = actor_with("mixed")
    module = ProbabilisticTensorDictModule(
        in_keys=["params"],
        out_keys=actor.dist_sample_keys,
        distribution_class=actor[-1].distribution_class,
        distribution_kwargs=actor[-1].distribution_kwargs,
        return_log_prob=True,
    )
    with pytest.raises(ValueError, match="QKLLoss: actor must be an actor that writes one log-probability"):
        QKLLoss(ProbabilisticTensorDictSequential(actor[0], module))


@pytest.mark.parametrize("heads", [{}, {"gear": MaskedCategoricalHead(3)}, {"a": MixedHead({"b": GaussianHead(1)})}])
def test_parts_must_read_features_only(heads):
    with pytest.raises(ValueError, match="MixedHead: heads must be heads that read features only"):
        MixedHead(heads)


def test_every_part_of_the_action_needs_a_head_and_heads_of_other_parts_are_left_out():
    with pytest.raises(ValueError, match=r"MixedHead: heads must be heads of \['gear'\], got \['push'\]"):
        MixedHead.of_sizes({"gear": 2}, {"push": GaussianHead})
    with pytest.raises(ValueError, match="MixedHead: sizes must be those of an action in named parts, got 4"):
        MixedHead.of_sizes(4, {"push": GaussianHead})
    assert list(MixedHead.of_sizes({"gear": 2}, {"push": GaussianHead, "gear": CategoricalHead}).heads) == ["gear"]


def test_losses_read_every_part_of_the_action_also_by_keyword():
    actor = actor_with("mixed")
    batch, loss = trajectories(actor=actor), QKLLoss(actor)
    parts = [("action", "gear"), ("action", "push")]
    assert loss.in_keys == ["observation", "desired_goal", *parts, "action_log_prob"]
    inputs = {"_".join(key) if isinstance(key, tuple) else key: batch[key] for key in loss.in_keys}
    assert loss(**inputs).item() == 0
    for part in parts:
        with pytest.raises(KeyError, match="QKLLoss: input must be a tensordict with the key"):
            loss(batch.exclude(part))
