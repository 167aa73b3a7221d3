"""PixelGoalEncoder: encoding each picture once gives the features of encoding it in every row."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchrl.modules import ConvNet

from torchrl_htrpo.modules import PixelGoalEncoder, RunningNormalizer, make_critic

SHAPE = (2, 7, 6)


def encoder(**kwargs):
    trunk = ConvNet(2, num_cells=[3, 4], kernel_sizes=[3, 2], strides=[2, 1], activation_class=nn.Tanh)
    return PixelGoalEncoder(trunk, SHAPE, 2, **kwargs).double()


def pictures(count):
    return torch.rand(count, *SHAPE, dtype=torch.float64)


@pytest.mark.parametrize("lead", [(), (1,), (5,), (3, 4, 5)], ids=str)
def test_any_leading_shape_has_features_of_the_picture_then_the_goal(lead):
    net, seen, goal = encoder(), pictures(60)[: max(1, torch.Size(lead).numel())].reshape(*lead, *SHAPE), torch.rand(2)
    goal = torch.rand(*lead, 2, dtype=torch.float64)
    out = net(seen, goal)
    assert out.shape == (*lead, net.num_features) and torch.equal(out[..., -2:], goal)
    one = net.trunk(seen.reshape(-1, *SHAPE)[:1])[0]
    torch.testing.assert_close(out.reshape(-1, net.num_features)[0, :-2], one)


def test_bytes_are_numbers_from_zero_to_one():
    net, seen = encoder(), torch.randint(256, (5, *SHAPE), dtype=torch.uint8)
    goal = torch.rand(5, 2, dtype=torch.float64)
    torch.testing.assert_close(net(seen, goal), net(seen.double() / 255, goal))
    net.remember(seen)
    torch.testing.assert_close(net(torch.arange(5), goal), net(seen, goal))


@pytest.mark.parametrize("rows", [3, 8, 50], ids=["fewer rows than states", "as many", "more"])
def test_numbers_stand_for_pictures_and_their_gradients_add_up(rows):
    net, table = encoder(), pictures(8)
    net.remember(table)
    numbers, goal = torch.randint(8, (2, rows)), torch.rand(2, rows, 2, dtype=torch.float64)
    weight = torch.randn(2, rows, net.num_features, dtype=torch.float64)
    outs = [net(numbers, goal), net(table[numbers], goal)]
    torch.testing.assert_close(*outs)
    one, other = (torch.autograd.grad((out * weight).sum(), list(net.parameters())) for out in outs)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("rows", [3, 50])
def test_every_picture_is_encoded_at_most_once(rows):
    net, looked = encoder(), []
    net.remember(pictures(8))
    net.trunk.register_forward_hook(lambda _, inputs, __: looked.append(len(inputs[0])))
    net(torch.randint(8, (rows,)), torch.zeros(rows, 2, dtype=torch.float64))
    assert looked == [min(rows, 8)]


def test_a_policy_and_a_critic_may_share_the_statistics_of_goals():
    goal = RunningNormalizer(2)
    policy, critic = encoder(goal_normalizer=goal), encoder(goal_normalizer=goal)
    policy.update(torch.zeros(4, *SHAPE), torch.tensor([[0.0, 2.0], [2.0, 6.0]]), torch.full((2, 2), 1.0))
    assert critic.goal.count == 4 and critic.goal.mean.tolist() == [1.0, 2.5]
    encoder().update(torch.zeros(1, *SHAPE), torch.zeros(1, 2))  # without statistics there is nothing to do


def test_pictures_are_not_part_of_the_network():
    net = encoder()
    net.remember(pictures(4))
    critic = make_critic(net.num_features, (5,), encoder=net)
    assert not [name for name in critic.state_dict() if "states" in name]


def test_indices_without_pictures_are_refused():
    with pytest.raises(RuntimeError, match="PixelGoalEncoder: states must be given"):
        encoder()(torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.float64))
