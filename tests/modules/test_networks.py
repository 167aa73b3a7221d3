"""Networks: orthogonal weights, joined inputs, TorchRL's contracts."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Categorical, OneHot
from torchrl.envs import ExplorationType, set_exploration_type

from tests import oracles
from tests.cases import HEADS, actor_with, trajectories
from torchrl_htrpo.modules import (
    CategoricalHead,
    GoalNetwork,
    GoalNormalizer,
    action_features,
    make_actor,
    make_critic,
    orthogonal_,
)


def test_weights_are_orthogonal_with_the_gain_of_their_layer_and_biases_zero():
    net = orthogonal_(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)), 2.0, 0.1)
    for index, gain in ((0, 2.0), (2, 2.0), (4, 0.1)):
        gram = net[index].weight @ net[index].weight.T
        assert torch.allclose(gram, gain**2 * torch.eye(len(gram)), atol=1e-5)
        assert not net[index].bias.any()


def test_convolutions_are_initialised_too():
    net = orthogonal_(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(4, 4, bias=False)), gain=3.0)
    flat = net[0].weight.flatten(1)
    assert torch.allclose(flat @ flat.T, 9 * torch.eye(4), atol=1e-4)


def test_a_new_policy_hardly_depends_on_its_input():
    actor = make_actor(CategoricalHead(4), 5)
    logits = actor.get_dist(trajectories(dtype=torch.float32).select("observation", "desired_goal")).logits
    assert (logits.exp() - 0.25).abs().max() < 0.1


def test_a_policy_samples_unless_told_otherwise():
    actor = make_actor(CategoricalHead(4), 5)
    batch = trajectories(1, 1, dtype=torch.float32).expand(200, 1).clone()
    assert len(actor(batch.clone())["action"].unique()) == 4
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        assert len(actor(batch.clone())["action"].unique()) == 1


def test_the_critic_is_the_network_written_out():
    critic = make_critic(5, (6, 4)).double()
    batch = trajectories()
    x = torch.cat((batch["observation"], batch["desired_goal"]), -1)
    value = critic(batch)["state_value"]
    assert value.shape == (4, 5, 1)
    assert torch.allclose(value, oracles.mlp(list(critic.parameters()), x), atol=1e-12)


def test_an_encoder_comes_before_the_layers():
    normalizer = GoalNormalizer(3, 2).double()
    batch = trajectories()
    normalizer.update(batch["observation"], batch["desired_goal"])
    critic = make_critic(5, (6,), encoder=normalizer).double()
    expected = oracles.mlp(list(critic.parameters()), normalizer(batch["observation"], batch["desired_goal"]))
    assert torch.allclose(critic(batch)["state_value"], expected, atol=1e-12)
    assert any("encoder" in key for key in critic.state_dict())


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_policy_comes_back_bit_for_bit(head):
    one, two = actor_with(head), actor_with(head)
    batch = trajectories(actor=one)
    two.load_state_dict(one.state_dict())
    same = batch.select(*one.in_keys)
    assert torch.equal(
        one.get_dist(same.clone()).log_prob(batch["action"]), two.get_dist(same).log_prob(batch["action"])
    )


def test_nested_input_and_action_keys():
    keys = [("agents", "observation"), ("agents", "desired_goal")]
    actor = make_actor(CategoricalHead(4), 5, in_keys=keys, action_key=("agents", "action"))
    agents = TensorDict(observation=torch.zeros(2, 3), desired_goal=torch.zeros(2, 2), batch_size=[2])
    out = actor(TensorDict(agents=agents, batch_size=[2]))
    assert out["agents", "action"].shape == (2,) and actor.log_prob_keys == [("agents", "action_log_prob")]
    assert make_critic(5, in_keys=keys)(out)["state_value"].shape == (2, 1)


def test_a_network_takes_any_number_of_inputs_its_encoder_takes():
    net = GoalNetwork(nn.Linear(5, 1), GoalNormalizer(3, 2))
    assert net(torch.zeros(7, 3), torch.zeros(7, 2)).shape == (7, 1)


def test_compiled_and_eager_actors_agree():
    actor = actor_with("gaussian")
    batch = trajectories(actor=actor)

    def mean(observation, goal):
        return actor[0].module(observation, goal)[0]

    compiled = torch.compile(mean, backend="eager", fullgraph=True)
    inputs = batch["observation"], batch["desired_goal"]
    assert torch.equal(compiled(*inputs), mean(*inputs))


def test_the_size_of_a_head_is_read_from_the_action_spec():
    assert action_features(Categorical(8, shape=(5,))) == 8
    assert action_features(OneHot(6)) == 6
    assert action_features(Bounded(-1, 1, shape=(2, 4))) == 4
