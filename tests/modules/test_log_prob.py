"""Log-probabilities of given actions."""

from __future__ import annotations

import pytest
import torch
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from torch.distributions import Distribution

from tests.cases import HEADS, actor_with, trajectories
from torchrl_htrpo.hindsight import CumulativeGoalRatio
from torchrl_htrpo.modules import action_log_prob
from torchrl_htrpo.modules.log_prob import check_log_prob
from torchrl_htrpo.objectives import TrustRegionObjective


@pytest.mark.parametrize("head", HEADS)
def test_the_score_is_the_collected_log_prob_and_nothing_is_written(head):
    actor = actor_with(head)
    batch = trajectories(actor=actor)
    keys = set(batch.keys(True, True))
    assert torch.allclose(action_log_prob(actor, batch), batch["action_log_prob"], atol=1e-6)
    assert set(batch.keys(True, True)) == keys


def test_the_action_may_stand_under_another_key():
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor)
    batch["other"] = batch["action"] + 1
    expected = actor.get_dist(batch.select(*actor.in_keys)).log_prob(batch["action"] + 1)
    assert torch.equal(action_log_prob(actor, batch, "other"), expected)
    assert not torch.equal(action_log_prob(actor, batch, "other"), action_log_prob(actor, batch))


def test_something_that_is_no_actor_is_refused():
    with pytest.raises(TypeError, match=r"Owner: actor must be a ProbabilisticTensorDictSequential .*got 'Linear'"):
        check_log_prob("Owner", torch.nn.Linear(1, 1))


class Mute(Distribution):
    """A distribution without log_prob."""

    def __init__(self, loc, scale):
        super().__init__(validate_args=False)
        self.loc, self.scale = loc, scale

    def sample(self, sample_shape=()):
        return torch.normal(self.loc, self.scale)


@pytest.mark.parametrize("owner", [TrustRegionObjective, CumulativeGoalRatio])
def test_a_distribution_without_log_prob_is_refused_by_name(owner):
    network = actor_with("gaussian")[0]
    draw = ProbabilisticTensorDictModule(["loc", "scale"], ["action"], distribution_class=Mute, return_log_prob=True)
    with pytest.raises(TypeError, match="actor must be an actor whose distribution has log_prob, got 'Mute'"):
        owner(ProbabilisticTensorDictSequential(network, draw))
