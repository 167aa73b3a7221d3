"""V-trace with the goal ratio against the sum in IMPALA's eq. 1."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import oracles
from tests.cases import bitwise_equal
from tests.objectives.test_state_value import critic, relabelled
from torchrl_htrpo.objectives import GoalVTrace, StateValue


def with_log_probs(batch, spread=1.0):
    old = torch.randn(batch.shape, dtype=torch.float64)
    out = StateValue(critic())(batch)
    out["original_log_prob"] = old
    out["action_log_prob"] = old + spread * torch.randn(batch.shape, dtype=torch.float64)
    return out


def parts_of(batch):
    return [
        batch[key].squeeze(-1)
        for key in (("next", "reward"), "state_value", ("next", "state_value"), ("next", "terminated"))
    ]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 1000),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_targets_and_advantages_equal_brute_force(lengths, broken_off, seed, gamma, lmbda):
    torch.manual_seed(seed)
    batch = with_log_probs(relabelled(lengths, num=len(lengths), broken_off=broken_off))
    live = batch["collector", "mask"]
    ratio = (batch["action_log_prob"] - batch["original_log_prob"]).exp()
    target = oracles.vtrace_target(*parts_of(batch), live, ratio, gamma, lmbda)
    advantage = oracles.vtrace_advantage(*parts_of(batch), live, target, gamma)
    out = GoalVTrace(gamma, lmbda)(batch)
    assert torch.allclose(out["value_target"].squeeze(-1)[live], target[live], atol=1e-6)
    assert torch.allclose(out["advantage"].squeeze(-1)[live], advantage[live], atol=1e-6)


def test_without_a_trace_and_ratio_one_the_advantage_is_one_step_td():
    batch = with_log_probs(relabelled([5, 2, 0, 4]), spread=0.0)
    live = batch["collector", "mask"]
    *parts, terminated = parts_of(batch)
    expected = oracles.td0(*parts, terminated, live, 0.9)
    target = GoalVTrace(0.9, 0.0)(batch)["value_target"].squeeze(-1)
    assert torch.allclose(target[live], (expected + parts[1])[live], atol=1e-7)


def test_what_dead_steps_hold_does_not_leak_into_live_ones():
    batch = with_log_probs(relabelled([5, 2, 1, 4]))
    clean = GoalVTrace()(batch)
    live = batch["collector", "mask"]
    for key in ("original_log_prob", "action_log_prob"):
        batch[key][~live] = torch.nan
    spoilt = GoalVTrace()(batch)
    for key in ("advantage", "value_target"):
        assert torch.equal(clean[key][live], spoilt[key][live]) and (~live).any()


def test_an_unmasked_batch_ends_where_it_is_done():
    batch = relabelled(None)
    one = with_log_probs(batch)
    live = torch.ones(batch.shape, dtype=torch.bool)
    one["collector", "mask"] = live
    bare = one.exclude("collector")
    assert torch.equal(GoalVTrace()(one)["advantage"], GoalVTrace()(bare)["advantage"])


def test_the_input_is_unchanged():
    batch = with_log_probs(relabelled([5, 2, 1, 4]))
    before = batch.clone()
    GoalVTrace()(batch)
    assert bitwise_equal(batch, before)


def test_log_prob_keys_may_be_nested():
    batch = with_log_probs(relabelled([5, 2, 1, 4]))
    expected = GoalVTrace()(batch)["advantage"]
    batch.rename_key_("action_log_prob", ("a", "new")).rename_key_("original_log_prob", ("a", "old"))
    out = GoalVTrace(log_prob=("a", "new"), original_log_prob=("a", "old"))(batch)
    assert torch.equal(out["advantage"], expected)


@pytest.mark.parametrize("argument", ["gamma", "lmbda"])
def test_bad_arguments_are_refused(argument):
    with pytest.raises(ValueError, match=rf"GoalVTrace: {argument} must be in \[0, 1\], got 1.5"):
        GoalVTrace(**{argument: 1.5})


@pytest.mark.parametrize("missing", ["state_value", "original_log_prob", ("next", "reward")])
def test_a_missing_entry_is_named(missing):
    with pytest.raises(KeyError) as error:
        GoalVTrace()(with_log_probs(relabelled([5, 2, 1, 4])).exclude(missing))
    assert (
        "GoalVTrace: input must be a tensordict with the key" in str(error.value)
        and repr(missing) in error.value.args[0]
    )
