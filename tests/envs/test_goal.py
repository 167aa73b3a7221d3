"""Goal tasks: success criteria and rewards."""

from __future__ import annotations

import pytest
import torch

from tests import oracles
from tests.cases import trajectories
from torchrl_htrpo.envs import EqualGoals, GoalTask, WithinDistance
from torchrl_htrpo.envs.goal import first


def test_within_is_strictly_nearer_than_the_threshold():
    achieved = torch.tensor([[0.0, 0.05], [0.0, 0.049], [torch.nan, 0.0]], dtype=torch.float64)
    assert WithinDistance(0.05)(achieved, torch.zeros(2, dtype=torch.float64)).tolist() == [False, True, False]


def test_equal_goals_needs_every_entry():
    assert EqualGoals()(torch.tensor([[1.0, 0], [1, 1]]), torch.ones(2)).tolist() == [False, True]


def test_the_first_success_is_kept():
    success = torch.tensor([[False, True, True], [False, False, False], [True, False, True]])
    assert first(success).tolist() == [[False, True, False], [False, False, False], [True, False, False]]


@pytest.mark.parametrize("reward", ["sparse", "paper_code", "her", "dense"])
def test_reward_presets_follow_their_definitions(reward):
    batch = trajectories(6, 5, values=2)
    task = GoalTask(EqualGoals(), reward, success_reward=4.0)
    values = task.compute_reward(batch)
    assert values.shape == (6, 5, 1)
    for i in range(6):
        goal, path = batch["desired_goal"][i, 0], batch["next", "achieved_goal"][i]
        seen = False
        for t in range(5):
            success = oracles.equal(path[t], goal)
            expected = {
                "sparse": 4.0 if success and not seen else 0.0,
                "paper_code": 5.0 - t if success and not seen else 0.0,
                "her": 0.0 if success else -1.0,
                "dense": -(path[t] - goal).square().sum().sqrt().item(),
            }[reward]
            assert values[i, t].item() == pytest.approx(expected)
            seen = seen or success
    assert torch.equal(task.success(batch), (batch["next", "achieved_goal"] == batch["desired_goal"]).all(-1))


@pytest.mark.parametrize("reward", ["sparse", "paper_code", "her", "dense", lambda batch: -batch["goal_distance"]])
def test_rewards_lie_in_the_range_of_their_preset(reward):
    batch = trajectories(20, 6)
    batch["goal_distance"] = torch.randn(20, 6, 1, dtype=torch.float64)
    task = GoalTask(EqualGoals(), reward, success_reward=3.0)
    rewards, (low, high) = task.compute_reward(batch), task.reward_range
    assert low <= rewards.min() < rewards.max() <= high
    if reward in {"sparse", "her"}:
        assert (low, high) == (rewards.min(), rewards.max())


def test_keys_may_be_nested():
    task = GoalTask(EqualGoals(), achieved_goal=("a", "achieved"), desired_goal=("a", "desired"))
    assert task.next_achieved_goal == ("next", "a", "achieved") and task.next_desired_goal == ("next", "a", "desired")


def test_an_unknown_reward_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match=r"GoalTask: reward must be a preset or a callable, got 'x' \(choices: 'sparse', 'p"
    ):
        GoalTask(EqualGoals(), "x")


def test_a_reward_function_of_the_wrong_shape_is_refused():
    task = GoalTask(EqualGoals(), lambda td: torch.zeros(td.batch_size))
    with pytest.raises(ValueError, match=r"GoalTask: reward must be a function to the shape \(4, 5, 1\), got \(4, 5\)"):
        task.compute_reward(trajectories())


def test_an_environment_without_the_goals_of_a_task_is_refused_before_anything_is_collected():
    from torchrl_htrpo.envs import BitFlipEnv

    env = BitFlipEnv(4)
    GoalTask(EqualGoals()).check(env)
    with pytest.raises(KeyError, match=r"GoalTask: env must be an environment with \['place'\], got"):
        GoalTask(EqualGoals(), achieved_goal="place").check(env)
    with pytest.raises(ValueError, match=r"'step_count' must be of floats, got torch.int64"):
        GoalTask(EqualGoals(), achieved_goal="step_count").check(env)


def test_a_termination_is_a_failure_unless_it_may_have_been_the_success():
    batch = trajectories(2, 3)
    batch["next", "achieved_goal"][0, 2] = batch["desired_goal"][0, 2]  # reached in the last step of the first
    batch["next", "achieved_goal"][1] = batch["desired_goal"][1] + 1
    batch["next", "terminated"][:, 2] = True
    assert GoalTask(EqualGoals()).failure(batch)[:, 2].tolist() == [False, True]
    assert GoalTask(EqualGoals(), ends_at_success=False).failure(batch)[:, 2].tolist() == [True, True]
    assert not GoalTask(EqualGoals(), ends_at_success=False).failure(batch)[:, :2].any()
