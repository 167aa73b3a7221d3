"""An environment's own reward and success, for every goal of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict

pytest.importorskip("gymnasium_robotics")

from tests.envs.failing import Walk
from torchrl_htrpo.envs import BitFlipEnv, GoalTask, WithinDistance, make_goal_env


class Rewarded(Walk):
    """Reward nearness less a cost, or use a given reward function."""

    def __init__(self, compute=None, **kwargs):
        super().__init__(**kwargs)
        self.compute_reward = compute or (lambda achieved, desired, info: sparse(achieved, desired) - info["cost"])

    def step(self, action):
        state, _, *rest, _ = super().step(action)
        info = {"cost": float(np.abs(action).sum())}
        return state, self.compute_reward(state["achieved_goal"], state["desired_goal"], info), *rest, info


def sparse(achieved, desired, info=None):
    return (np.linalg.norm(achieved - desired, axis=-1) < 0.5).astype(float)


@pytest.mark.parametrize("name", ["FetchReach-v4", "PointMaze_UMaze-v3", "HandReach-v3"])
def test_the_reward_of_a_collected_batch_is_computed_again(name):
    env = make_goal_env(name, 2, seed=0)
    task, batch = GoalTask.from_gymnasium(env), env.rollout(20)
    assert torch.equal(task.compute_reward(batch), batch["next", "reward"])
    apart = {"FetchReach-v4": 0.05, "PointMaze_UMaze-v3": 0.45, "HandReach-v3": 0.01}[name]
    goal = torch.zeros(2, batch["desired_goal"].shape[-1])
    at = goal.clone()
    at[:, 0] = torch.tensor([0.99 * apart, 1.01 * apart])
    assert task.reached(at, goal).tolist() == [True, False]
    env.close()


def test_rewards_that_read_info_are_those_of_the_steps():
    env = make_goal_env(Rewarded, 3, seed=0, info_keys=["cost"])
    task = GoalTask.from_gymnasium(env, reached=WithinDistance(0.5), info_keys=["cost"])
    batch = env.rollout(5)
    assert torch.allclose(task.compute_reward(batch), batch["next", "reward"], atol=1e-6)
    assert batch["next", "reward"].unique().numel() > 2


def test_goals_of_a_relabelled_batch_broadcast():
    task = GoalTask.from_gymnasium(Rewarded(sparse))
    batch = TensorDict(batch_size=[2, 3, 4])
    batch["desired_goal"] = torch.zeros(2, 1, 1, 2).expand(2, 3, 4, 2)
    batch["next", "achieved_goal"] = torch.rand(2, 3, 4, 2)
    expected = (batch["next", "achieved_goal"].norm(dim=-1, keepdim=True) < 0.5).float()
    assert torch.equal(task.compute_reward(batch), expected) and torch.equal(task.success(batch), expected[..., 0] > 0)
    assert GoalTask.from_gymnasium(Rewarded(sparse), reward="her").reward == "her"


@pytest.mark.parametrize(
    ("env", "error", "said"),
    [
        (Walk(), TypeError, r"from_gymnasium: env must be a gymnasium environment .*compute_reward.*got 'Walk'"),
        (
            BitFlipEnv(4),
            TypeError,
            r"env must be a gymnasium environment.*for another one write GoalTask\(WithinDistance",
        ),
        (Rewarded(lambda a, d, i: 1.0), ValueError, r"takes goals \[M, d\] and returns rewards \[M\].*shape \(\)"),
        (Rewarded(lambda a, d, i: -np.linalg.norm(a - d, axis=-1)), ValueError, "reached must be given"),
    ],
)
def test_an_environment_without_a_success_criterion_is_refused(env, error, said):
    with pytest.raises(error, match=said):
        GoalTask.from_gymnasium(env)


def test_a_reward_that_reads_info_needs_a_success_criterion():
    with pytest.raises(ValueError, match="GoalTask: reached must be given with info_keys"):
        GoalTask.from_gymnasium(Rewarded(), info_keys=["cost"])
