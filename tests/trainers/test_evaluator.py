"""Evaluator: schedule, starts and goals, and the target."""

from __future__ import annotations

import pytest

from torchrl_htrpo import BitFlipEnv, make_actor
from torchrl_htrpo.modules import CategoricalHead
from torchrl_htrpo.trainers import Evaluator


def evaluator(**settings):
    env = BitFlipEnv(4, num_envs=8, seed=0)
    return Evaluator(env, env.task(), 4, **settings)


def test_it_is_due_every_few_iterations_and_at_the_end():
    assert [evaluator(every=3).is_due(index, last=index == 4) for index in range(5)] == [True, False, False, True, True]


def test_the_last_evaluation_has_its_own_size_and_the_goals_are_always_the_same():
    one, actor = evaluator(episodes=8, final_episodes=16), make_actor(CategoricalHead(4), 8, (8,))
    assert (one(actor, False)["eval/episodes"], one(actor, True)["eval/episodes"]) == (8, 16)
    assert one(actor, False) == one(actor, False)


@pytest.mark.parametrize(("metric", "reached"), [("success", True), ("success_last", False)])
def test_the_target_is_compared_with_its_metric(metric, reached):
    found = {"eval/success": 0.9, "eval/success_last": 0.5}
    assert evaluator(target=0.8, metric=metric).target_reached(found) is reached
    assert not evaluator().target_reached(found)
