"""TD(0) targets against arithmetic, and inside TorchRL's losses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.data import Categorical
from torchrl.modules import QValueModule, ValueOperator
from torchrl.objectives import DDPGLoss, DQNLoss

from torchrl_htrpo.recipes.bounded_td0 import BoundedTD0

FIGURE = st.floats(-100, 100)


def transitions(size=6, actions=2, discrete=False):
    action = torch.randint(actions, (size,)) if discrete else torch.randn(size, actions)
    terminated = torch.rand(size, 1) < 0.3
    after = TensorDict(
        features=torch.randn(size, 3),
        reward=torch.randn(size, 1),
        terminated=terminated,
        done=terminated | (torch.rand(size, 1) < 0.3),
        batch_size=[size],
    )
    return TensorDict(features=torch.randn(size, 3), action=action, next=after, batch_size=[size])


@given(FIGURE, FIGURE, st.booleans(), st.floats(0, 1), FIGURE, st.floats(0, 50))
def test_a_target_is_the_reward_and_the_discounted_value_within_bounds(reward, value, ends, gamma, low, width):
    flag = torch.tensor([[ends]])
    after = TensorDict(reward=torch.tensor([[reward]]).double(), terminated=flag, done=flag, batch_size=[1])
    td0 = BoundedTD0(gamma=gamma, value_network=None, low=low, high=low + width)
    target = td0.value_estimate(TensorDict(next=after, batch_size=[1]), next_value=torch.tensor([[value]]).double())
    expected = min(max(reward + (0 if ends else gamma * value), low), low + width)
    assert target.item() == pytest.approx(expected, rel=1e-5, abs=1e-4)


def policy_and_critic():
    policy = TensorDictModule(torch.nn.Linear(3, 2), ["features"], ["action"])
    return policy, ValueOperator(torch.nn.Bilinear(3, 2, 1), ["features", "action"])


@pytest.mark.parametrize(("low", "high"), [(-1e9, 1e9), (-0.2, 0.1)])
def test_ddpg_takes_its_targets_from_it(low, high):
    policy, critic = policy_and_critic()
    loss = DDPGLoss(policy, critic, delay_actor=True, delay_value=True)
    loss.make_value_estimator(BoundedTD0, gamma=0.9, value_network=loss.actor_critic, low=low, high=high)
    loss.set_keys()
    rows = transitions()
    with torch.no_grad():
        after = critic(policy(rows["next"].select("features")))["state_action_value"]
        target = rows["next", "reward"] + 0.9 * after * ~rows["next", "terminated"]
        value = critic(rows.select("features", "action"))["state_action_value"]
        expected = (value - target.clamp(low, high)).square().mean()
    assert loss(rows)["loss_value"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("low", "high"), [(-1e9, 1e9), (-0.2, 0.1)])
def test_double_dqn_takes_its_targets_from_it(low, high):
    values = torch.nn.Linear(3, 2)
    policy = TensorDictSequential(
        TensorDictModule(values, ["features"], ["action_value"]),
        QValueModule(spec=Categorical(2), action_space="categorical"),
    )
    loss = DQNLoss(policy, action_space="categorical", delay_value=True, double_dqn=True)
    loss.make_value_estimator(BoundedTD0, gamma=0.9, value_network=loss.value_network, low=low, high=high)
    loss.set_keys()
    rows = transitions(discrete=True)
    with torch.no_grad():
        after = values(rows["next", "features"]).amax(-1, keepdim=True)
        target = rows["next", "reward"] + 0.9 * after * ~rows["next", "terminated"]
        value = values(rows["features"]).gather(-1, rows["action"].unsqueeze(-1))
        expected = (value - target.clamp(low, high)).square().mean()
    assert loss(rows)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match=r"BoundedTD0: low must be at most high = -1.0, got 0.0"):
        BoundedTD0(gamma=0.9, value_network=None, low=0.0, high=-1.0)
