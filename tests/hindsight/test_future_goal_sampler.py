"""Goals of the same trajectory, compared with a loop over its steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.cases import bitwise_equal, lengths_of, trajectories
from torchrl_htrpo.envs import EqualGoals
from torchrl_htrpo.hindsight import FinalGoalSampler, FutureGoalSampler
from torchrl_htrpo.hindsight.functional import draw_later, in_box


@st.composite
def batches(draw):
    num, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    ragged = draw(st.booleans())
    lengths = draw(st.lists(st.integers(0, steps), min_size=num, max_size=num)) if ragged else None
    torch.manual_seed(draw(st.integers(0, 2**16)))
    return trajectories(num, steps, lengths=lengths)


def ahead(batch, row, step, allowed=lambda goal: True):
    """Goals that a trajectory achieves at or after a step."""
    achieved = batch["next", "achieved_goal"][row].tolist()
    return [achieved[later] for later in range(step, lengths_of(batch)[row]) if allowed(achieved[later])]


@given(batches())
def test_a_goal_is_one_that_the_same_trajectory_achieves_later(batch):
    out = FutureGoalSampler()(batch)
    for row in range(len(batch)):
        for step in range(batch.shape[1]):
            candidates = ahead(batch, row, step)
            assert bool(out["hindsight", "goal_mask"][row, step, 0]) is bool(candidates)
            assert not candidates or out["hindsight", "goal"][row, step, 0].tolist() in candidates


@given(batches())
def test_the_final_goal_is_the_last_one_of_its_trajectory(batch):
    out = FinalGoalSampler()(batch)
    for row, length in enumerate(lengths_of(batch)):
        assert out["hindsight", "goal_mask"][row].all() == out["hindsight", "goal_mask"][row].any() == (length > 0)
        if length:
            last = batch["next", "achieved_goal"][row, length - 1]
            assert (out["hindsight", "goal"][row] == last).all()


@given(batches())
def test_later_goals_in_the_region_are_preferred(batch):
    low, high = batch["desired_goal"].amin((0, 1)), batch["desired_goal"].amax((0, 1))

    def region(candidates, goals):
        return ((candidates >= low) & (candidates <= high)).all(-1)

    def inside(goal):
        return all(a <= g <= b for a, g, b in zip(low.tolist(), goal, high.tolist(), strict=True))

    out = FutureGoalSampler(region=region)(batch)
    for row in range(len(batch)):
        for step in range(batch.shape[1]):
            candidates = ahead(batch, row, step, inside) or ahead(batch, row, step)
            assert not candidates or out["hindsight", "goal"][row, step, 0].tolist() in candidates


def test_the_box_of_hindsight_goal_filtering_is_a_region():
    batch = trajectories(20, 6)
    kept = FutureGoalSampler(region=in_box)(batch)["hindsight", "goal"]
    plain = FutureGoalSampler()(batch)["hindsight", "goal"]
    goals = batch["desired_goal"][:, 0]
    assert in_box(kept.reshape(-1, 2), goals).sum() >= in_box(plain.reshape(-1, 2), goals).sum()


@pytest.mark.parametrize("eligible", [[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 1]])
def test_each_eligible_step_ahead_is_drawn_equally_often(eligible):
    flags = torch.tensor(eligible, dtype=torch.bool)
    drawn, exists = draw_later(flags.expand(8000, 4), torch.Generator().manual_seed(0))
    for step in range(4):
        open_to_it = [later for later in range(step, 4) if eligible[later]]
        assert exists[:, step].all() == bool(open_to_it)
        counts = torch.bincount(drawn[:, step], minlength=4)
        assert counts[open_to_it].sum() == 8000
        assert len(open_to_it) == 1 or chisquare(counts[open_to_it]).pvalue > 1e-3


def test_no_step_is_drawn_beyond_the_last_whatever_the_rounding(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 1.0))  # one more than rand ever gives
    assert draw_later(torch.ones(2, 5, dtype=torch.bool))[0].tolist() == [[4] * 5] * 2


def test_goals_that_held_at_the_start_can_be_left_out():
    batch = trajectories(30, 5, values=2)
    batch["next", "achieved_goal"][0] = batch["achieved_goal"][0, 0]  # one that never leaves its start
    for sampler in (FutureGoalSampler(skip_held=EqualGoals()), FinalGoalSampler(skip_held=EqualGoals())):
        out = sampler(batch)
        exists, goal = out["hindsight", "goal_mask"].squeeze(-1), out["hindsight", "goal"].squeeze(-2)
        assert exists.any() and not exists[0].any()
        assert not EqualGoals()(goal, batch["achieved_goal"][:, :1])[exists].any()


@pytest.mark.parametrize("sampler", [FutureGoalSampler, FinalGoalSampler])
@pytest.mark.parametrize("lead", [(), (2, 2), (2, 1, 2)])
def test_any_leading_shape_gives_the_same_goals(sampler, lead):
    batch = trajectories(4) if lead else trajectories(1)
    torch.manual_seed(1)
    flat = sampler()(batch)["hindsight", "goal"]
    torch.manual_seed(1)
    out = sampler()(batch.reshape(*lead, 5))
    assert torch.equal(out["hindsight", "goal"].reshape(flat.shape), flat)


@pytest.mark.parametrize("sampler", [FutureGoalSampler, FinalGoalSampler])
def test_nothing_is_written_but_the_goals(sampler):
    batch = trajectories()
    before = batch.clone()
    out = sampler()(batch)
    assert bitwise_equal(batch, before) and bitwise_equal(out.exclude("hindsight"), before)


def test_it_runs_on_the_device_of_the_batch(device):
    batch = trajectories().to(device)
    assert FutureGoalSampler(region=in_box)(batch)["hindsight", "goal"].device.type == device.type


@pytest.mark.parametrize("sampler", [FutureGoalSampler, FinalGoalSampler])
@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_a_row_with_two_trajectories_is_refused(sampler, end):
    batch = trajectories(3, 6)
    batch["next", end][1, 2] = True
    with pytest.raises(ValueError, match=rf"{sampler.__name__}: input must be of one trajectory a row"):
        sampler()(batch)
