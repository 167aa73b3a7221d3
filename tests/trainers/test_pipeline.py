"""The pipeline is the transforms one after another, with one discount."""

from __future__ import annotations

import torch

from torchrl_htrpo import (
    BitFlipEnv,
    CumulativeGoalRatio,
    GoalVTrace,
    HGFGoalSampler,
    HindsightRelabel,
    StateValue,
    make_actor,
    make_critic,
)
from torchrl_htrpo.modules import CategoricalHead
from torchrl_htrpo.trainers import hindsight_pipeline


def test_it_is_the_transforms_one_after_another_with_one_discount():
    torch.manual_seed(0)
    env = BitFlipEnv(4, num_envs=8, seed=0)
    task, actor, critic = env.task(), make_actor(CategoricalHead(4), 8, (8,)), make_critic(8, (8,))
    batch = env.rollout(4, actor)
    torch.manual_seed(1)
    rows = hindsight_pipeline(actor, critic, task, gamma=0.7, weighted=False)(batch)
    torch.manual_seed(1)
    relabelled = HindsightRelabel(task)(HGFGoalSampler(100, skip_held=task.reached)(batch))
    weighed = CumulativeGoalRatio(actor, gamma=0.7, weighted=False)(relabelled)
    expected = GoalVTrace(gamma=0.7)(StateValue(critic)(weighed))
    for key in ("importance_weight", "advantage", "value_target"):
        assert torch.equal(rows[key], expected[key])
