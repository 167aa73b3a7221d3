"""StateValue: each state is evaluated once, and TorchRL's estimators agree with a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchrl.objectives.value import GAE, TD0Estimator, TDLambdaEstimator

from tests import oracles
from tests.cases import GOALS, bitwise_equal, trajectories, with_goals
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import HindsightRelabel
from torchrl_htrpo.modules import make_critic
from torchrl_htrpo.objectives import StateValue


def critic():
    return make_critic(5, (6,)).double()


def relabelled(lengths=None, num=4, steps=5, broken_off=False):
    batch = trajectories(num, steps, lengths=lengths)
    if broken_off:
        batch["next", "truncated"].zero_()
        batch["next", "done"].zero_()
    return HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, GOALS))


def values_of(network, batch):
    """Both values of every live step, by evaluating the network written out at both ends of it."""
    weights = list(network.parameters())

    def at(td):
        return oracles.mlp(weights, torch.cat((td["observation"], td["desired_goal"]), -1)).squeeze(-1).detach()

    live = batch.get(("collector", "mask"), torch.ones(batch.shape, dtype=torch.bool))
    terminated = batch["next", "terminated"].squeeze(-1)
    return torch.where(live, at(batch), 0), torch.where(live & ~terminated, at(batch["next"]), 0)


@pytest.mark.parametrize("chunk_size", [3, 10_000])
@pytest.mark.parametrize("lengths", [None, [5, 1, 3, 0]])
def test_values_equal_those_of_every_state_and_the_state_after_it(lengths, chunk_size):
    network, batch = critic(), relabelled(lengths)
    out = StateValue(network, chunk_size=chunk_size)(batch)
    value, after = values_of(network, batch)
    assert out["state_value"].shape == out["next", "state_value"].shape == (3, 4, 5, 1)
    assert torch.allclose(out["state_value"].squeeze(-1), value, atol=1e-12)
    assert torch.allclose(out["next", "state_value"].squeeze(-1), after, atol=1e-12)


def test_several_trajectories_in_a_row_keep_their_own_last_states():
    batch, network = trajectories(2, 6), critic()
    batch["next", "terminated"][0, 1] = batch["next", "truncated"][1, 3] = True
    batch["next", "done"] = batch["next", "terminated"] | batch["next", "truncated"]
    batch["next", "observation"][:, 1:4] = torch.randn(2, 3, 3, dtype=torch.float64)  # not the next row's state
    batch["observation"][:, 2:5] = torch.where(
        batch["next", "done"][:, 1:4], batch["observation"][:, 2:5], batch["next", "observation"][:, 1:4]
    )
    out = StateValue(network)(batch)
    value, after = values_of(network, batch)
    assert torch.allclose(out["state_value"].squeeze(-1), value, atol=1e-12)
    assert torch.allclose(out["next", "state_value"].squeeze(-1), after, atol=1e-12)


def test_each_state_is_evaluated_once():
    network, seen = critic(), []
    network.module.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    StateValue(network)(trajectories(4, 5))
    assert sum(seen) == 4 * 6


def test_the_input_stays_as_it_was_and_the_critic_is_no_submodule():
    batch, module = relabelled(), StateValue(critic())
    before = batch.clone()
    module(batch)
    assert bitwise_equal(batch, before) and not list(module.parameters())


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.sampled_from([0.0, 0.3, 0.95, 1.0]),
)
def test_torchrl_estimators_agree_with_loops_on_masked_relabelled_batches(lengths, broken_off, seed, gamma, lmbda):
    torch.manual_seed(seed)
    batch = StateValue(critic())(relabelled(lengths, num=len(lengths), broken_off=broken_off))
    parts = [batch[key].squeeze(-1) for key in (("next", "reward"), "state_value", ("next", "state_value"))]
    live = batch["collector", "mask"]
    rest = batch["next", "terminated"].squeeze(-1), live
    one_step, traced = oracles.td0(*parts, *rest, gamma), oracles.gae(*parts, *rest, gamma, lmbda)
    estimators = [(TD0Estimator(gamma=gamma, value_network=None), one_step)]
    # The vectorised versions of torchrl 0.14 fail at gamma * lmbda = 0.
    for vectorized in (False, True)[: 1 + (gamma * lmbda > 0)]:
        for estimator in (GAE, TDLambdaEstimator):
            made = estimator(gamma=gamma, lmbda=lmbda, value_network=None, vectorized=vectorized)
            estimators.append((made, traced))
    for estimator, expected in estimators:
        out = estimator(batch.clone())
        assert torch.allclose(out["advantage"].squeeze(-1)[live], expected[live], atol=1e-6)
        assert torch.allclose(out["value_target"].squeeze(-1)[live], (expected + parts[1])[live], atol=1e-6)


def test_a_time_limit_is_bootstrapped_and_a_termination_is_not():
    network, batch = critic(), trajectories(2, 3)
    batch["next", "terminated"][1, 2], batch["next", "truncated"][1, 2] = True, False
    out = TD0Estimator(gamma=0.5, value_network=None)(StateValue(network)(batch))
    value, _ = values_of(network, batch)
    last = oracles.mlp(
        list(network.parameters()), torch.cat((batch["next", "observation"], batch["next", "desired_goal"]), -1)
    )
    expected = [0.5 * last[0, 2, 0].item() - value[0, 2].item(), -value[1, 2].item()]
    assert out["advantage"][:, 2, 0].tolist() == pytest.approx(expected, abs=1e-7)


def test_every_device_agrees(device):
    network, batch = critic(), relabelled([5, 1, 3, 0])
    expected = StateValue(network)(batch)["next", "state_value"]
    out = StateValue(network.to(device))(batch.to(device))["next", "state_value"]
    assert out.device.type == device.type and torch.allclose(out.cpu(), expected, atol=1e-12)


@pytest.mark.parametrize("missing", ["observation", ("next", "desired_goal"), ("next", "done")])
def test_a_missing_entry_is_named(missing):
    with pytest.raises(KeyError) as error:
        StateValue(critic())(relabelled().exclude(missing))
    assert (
        "StateValue: input must be a tensordict with the key" in str(error.value)
        and repr(missing) in error.value.args[0]
    )
