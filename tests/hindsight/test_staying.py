"""aim="stay": pairs are not cut, and the rewards sum to one for a success and one for being at the goal at the end."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import GOALS, trajectories, with_goals
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import HindsightRelabel


@given(st.integers(0, 1000))
def test_rewards_of_a_pair_are_one_for_a_success_and_one_for_its_end(seed):
    torch.manual_seed(seed)
    task = GoalTask(EqualGoals(), success_reward=3.0, aim="stay")
    out = HindsightRelabel(task)(with_goals(trajectories(), GOALS))
    held = task.reached(out["achieved_goal"], out["desired_goal"])[..., 0]
    success = task.success(out)
    once, at_the_end = success.any(-1), success[..., -1]
    total = out["next", "reward"].squeeze(-1).sum(-1)
    assert torch.equal(total, 3.0 * (once.double() + at_the_end.double() - held.double()))


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
