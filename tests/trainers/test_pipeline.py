"""The pipeline is the transforms one after another, with one discount."""

from __future__ import annotations

import pytest
import torch
from torchrl.envs import Compose
from torchrl.objectives.value import GAE, TD0Estimator

from torchrl_htrpo import (
    AllGoalSampler,
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
from torchrl_htrpo.trainers import HindsightPipeline, HTRPOTrainer, hindsight_pipeline
from torchrl_htrpo.trainers.pipeline import check_group


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


def parts(gamma):
    env = BitFlipEnv(4, num_envs=8, seed=0)
    actor, critic = make_actor(CategoricalHead(4), 8, (8,)), make_critic(8, (8,))
    ratio = CumulativeGoalRatio(actor, gamma=gamma)
    return env, actor, critic, Compose(AllGoalSampler(), HindsightRelabel(env.task()), ratio), StateValue(critic)


ADVANTAGES = {
    "GoalVTrace": lambda gamma: GoalVTrace(gamma=gamma),
    "TD0Estimator": lambda gamma: TD0Estimator(gamma=gamma, value_network=None),
    "GAE": lambda gamma: GAE(gamma=gamma, lmbda=0.9, value_network=None),
}


@pytest.mark.parametrize("name", ADVANTAGES)
def test_an_advantage_with_another_discount_than_the_weights_is_refused(name):
    _, _, _, hindsight, value = parts(0.9)
    HindsightPipeline(hindsight, value, ADVANTAGES[name](0.9))
    with pytest.raises(ValueError, match=rf"gamma must be the same.*CumulativeGoalRatio', 0.9\), \('{name}', 0.98"):
        HindsightPipeline(hindsight, value, ADVANTAGES[name](0.98))


def test_the_trainer_refuses_a_composition_with_two_discounts(tmp_path):
    env, actor, critic, hindsight, value = parts(0.9)
    pipeline = Compose(hindsight, value, TD0Estimator(gamma=0.98, value_network=None))
    with pytest.raises(ValueError, match=r"HTRPOTrainer: gamma must be the same.*0\.9.*0\.98"):
        HTRPOTrainer(
            env, actor, critic, env.task(), horizon=4, total_steps=32, directory=tmp_path / "run", pipeline=pipeline
        )
    assert not (tmp_path / "run").exists()


def test_a_part_that_sums_over_other_processes_is_refused():
    env = BitFlipEnv(4, num_envs=2, seed=0)
    actor, critic, group = make_actor(CategoricalHead(4), 8, (8,)), make_critic(8, (8,)), object()
    goals = HGFGoalSampler(5, process_group=group)
    whole = hindsight_pipeline(actor, critic, env.task(), goals=goals, process_group=group)
    check_group("HTRPOTrainer", whole, group)
    with pytest.raises(ValueError, match=r"HTRPOTrainer: process_group must be the same.*CumulativeGoalRatio"):
        check_group("HTRPOTrainer", hindsight_pipeline(actor, critic, env.task(), goals=goals), group)
    with pytest.raises(ValueError, match=r"got \['HGFGoalSampler', 'CumulativeGoalRatio'\]"):
        check_group("HTRPOTrainer", whole, None)
