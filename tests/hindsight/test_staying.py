"""aim="stay": pairs are not cut, and every step at the goal is rewarded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import GOALS, trajectories, with_goals
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import HindsightRelabel


@given(st.integers(0, 1000))
def test_the_return_of_a_pair_counts_its_steps_at_the_goal(seed):
    torch.manual_seed(seed)
    task = GoalTask(EqualGoals(), success_reward=3.0, aim="stay")
    out = HindsightRelabel(task)(with_goals(trajectories(), GOALS))
    achieved, desired = out["next", "achieved_goal"], out["desired_goal"]
    for index in torch.cartesian_prod(*map(torch.arange, out.shape[:-1])):
        pair = tuple(index.tolist())
        steps = sum(a.tolist() == d.tolist() for a, d in zip(achieved[pair], desired[pair], strict=True))
        assert out["next", "reward"][pair].sum().item() == 3.0 * steps


def test_no_pair_is_cut_and_every_pair_is_truncated_at_its_last_step():
    batch = with_goals(trajectories(), GOALS)
    out = HindsightRelabel(GoalTask(EqualGoals(), aim="stay"))(batch)
    assert out["collector", "mask"].all()
    assert not out["next", "terminated"].any()
    assert out["next", "truncated"][..., -1, 0].all()
    assert not out["next", "truncated"][..., :-1, 0].any()
    cut = HindsightRelabel(GoalTask(EqualGoals()))(batch)
    assert not cut["collector", "mask"].all()


def test_an_unknown_aim_is_refused():
    with pytest.raises(ValueError, match=r"GoalTask.*aim.*'reach'"):
        GoalTask(EqualGoals(), aim="touch")
