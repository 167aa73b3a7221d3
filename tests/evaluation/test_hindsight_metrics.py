"""Metrics of relabelled batches, and warnings about batches that allow no update."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from torchrl import torchrl_logger

from tests import oracles
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.evaluation import HindsightMetrics
from torchrl_htrpo.optim import StepStatus


def batch(weight, live=None) -> TensorDict:
    live = torch.ones_like(weight, dtype=torch.bool) if live is None else live
    return TensorDict(
        importance_weight=weight,
        collector=TensorDict(mask=live, batch_size=weight.shape),
        desired_goal=torch.ones(*weight.shape, 1),
        next=TensorDict(
            achieved_goal=torch.zeros(*weight.shape, 1),
            terminated=torch.ones(*weight.shape, 1, dtype=torch.bool),  # each by an enemy
            batch_size=weight.shape,
        ),
        hindsight=TensorDict(weight=weight, batch_size=weight.shape),
        batch_size=weight.shape,
    )


@pytest.fixture
def told():
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    torchrl_logger.addHandler(handler)
    yield texts
    torchrl_logger.removeHandler(handler)


def test_a_useful_batch_gives_no_warning(told):
    weight = torch.rand(2, 3, 4) + 0.5
    figures = HindsightMetrics(GoalTask(EqualGoals()))(batch(weight), StepStatus.ACCEPTED)
    assert figures["hindsight/ess"] == pytest.approx(oracles.effective_sample_size(weight))
    assert figures["hindsight/goals"] == 2 and 1.5 < figures["hindsight/trajectories"] <= 3 and not told
    assert figures["hindsight/live_share"] == 1


def test_solved_pairs_reach_their_goal_on_a_live_step():
    found = batch(torch.ones(2, 3, 4))
    found["next", "achieved_goal"][0, 0, 3] = found["next", "achieved_goal"][0, 1, 3] = 1.0
    found["collector", "mask"][0, 1, 3] = False
    assert HindsightMetrics(GoalTask(EqualGoals()))(found)["hindsight/solved_share"] == pytest.approx(1 / 6)


def test_a_single_trajectory_needs_no_dimension_of_its_own():
    weight = torch.rand(2, 4) + 0.5
    figures = HindsightMetrics(GoalTask(EqualGoals()))(batch(weight))
    assert figures == HindsightMetrics(GoalTask(EqualGoals()))(batch(weight.unsqueeze(1)))


def test_weights_on_one_trajectory_are_warned_of_once(told):
    weight = torch.full((2, 3, 4), 1e-12)
    weight[:, 1] = 1.0
    watch = HindsightMetrics(GoalTask(EqualGoals()))
    assert [watch(batch(weight))["hindsight/trajectories"] for _ in range(2)] == [pytest.approx(1.0)] * 2
    assert len(told) == 1 and "rest on one trajectory" in told[0]


def test_missing_goals_and_refused_steps_are_warned_of_with_advice(told):
    watch = HindsightMetrics(GoalTask(EqualGoals()))
    nothing = batch(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.bool))
    for status in (StepStatus.NO_ROWS, StepStatus.NO_ROWS, StepStatus.OUT_OF_REGION):
        figures = watch(nothing, status)
    assert figures["hindsight/goals"] == figures["hindsight/trajectories"] == 0
    assert len(told) == 3 and "no hindsight goal is left" in told[0]
    assert StepStatus.NO_ROWS.value in told[1] and StepStatus.OUT_OF_REGION.value in told[2]


@given(st.integers(0, 2**16), st.sampled_from([1e-30, 1.0, 1e30]))
def test_effective_trajectories_are_those_of_the_definition_at_any_scale(seed, scale):
    torch.manual_seed(seed)
    live = torch.rand(3, 4, 5) < 0.5
    weight = torch.rand(3, 4, 5, dtype=torch.float64) * live
    counts = [
        float(column.sum() ** 2 / column.square().sum()) for goal in weight for column in goal.T if column.sum() > 0
    ]
    expected = sum(counts) / max(len(counts), 1)
    figures = HindsightMetrics(GoalTask(EqualGoals()))(batch(weight * scale, live))
    assert figures["hindsight/trajectories"] == pytest.approx(expected)
