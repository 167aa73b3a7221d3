"""A batch in blocks of goals gives the rows, weights and figures of the whole batch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tensordict import TensorDict
from torch.nn.utils import parameters_to_vector

from tests.cases import GOALS, actor_with, trajectories, with_goals
from torchrl_htrpo.batch import Draws, RowSampler, weight_share
from torchrl_htrpo.envs import BitFlipEnv, EqualGoals, GoalTask
from torchrl_htrpo.evaluation import HindsightMetrics
from torchrl_htrpo.hindsight import OriginalGoalSampler, UniformGoalSampler
from torchrl_htrpo.modules import CategoricalHead, make_actor, make_critic
from torchrl_htrpo.optim import TrustRegionOptimizer
from torchrl_htrpo.trainers import GoalBlocks, HindsightPipeline, HTRPOTrainer, hindsight_pipeline
from torchrl_htrpo.trainers.goal_blocks import draw_rows

TASK = GoalTask(EqualGoals())
TARGETS = ("observation", "value_target")


def own_too(num_goals: int) -> OriginalGoalSampler:
    """Goals of all trajectories and each trajectory's own."""
    return OriginalGoalSampler(lambda **keys: UniformGoalSampler(num_goals, **keys))


def both(num_rows=16, *, goals=UniformGoalSampler, lengths=None, goal_block=2, **settings):
    """Draws and figures from the whole batch, and from blocks."""
    torch.manual_seed(0)
    actor, critic = actor_with("gaussian"), make_critic(5, (8,)).double()
    batch = trajectories(6, 5, actor=actor, lengths=lengths)
    draws = {
        "curvature": Draws(RowSampler(num_rows, priority=weight_share)),
        "gradient": Draws(RowSampler(num_rows)),
        "critic": Draws(RowSampler(num_rows, uniform_share=1.0), 3, TARGETS),
    }
    for block in (None, goal_block):
        torch.manual_seed(1)
        pipeline = hindsight_pipeline(actor, critic, TASK, goals=goals(7), goal_block=block, **settings)
        relabelled = pipeline(batch)
        assert isinstance(relabelled, GoalBlocks) == (block is not None)
        metrics = HindsightMetrics(TASK)
        rows, sums = draw_rows(relabelled, draws, metrics.sums)
        yield {name: list(each) for name, each in rows.items()}, metrics.report(sums)


def assert_equal(whole, blocks):
    assert whole[1] == pytest.approx(blocks[1], rel=1e-9)
    for name, drawn in whole[0].items():
        assert len(drawn) == len(blocks[0][name])
        for one, other in zip(drawn, blocks[0][name], strict=True):
            assert set(one.keys(True, True)) == set(other.keys(True, True)) and one.shape == other.shape
            for key in one.keys(True, True):
                torch.testing.assert_close(one[key], other[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("goal_block", [1, 2, 3, 100])
@pytest.mark.parametrize("goals", [UniformGoalSampler, own_too], ids=["shared", "per_trajectory"])
@pytest.mark.parametrize("lengths", [None, [5, 1, 3, 5, 2, 4]], ids=["whole", "ragged"])
def test_rows_weights_and_figures_are_those_of_the_whole_batch(goals, lengths, goal_block):
    assert_equal(*both(goals=goals, lengths=lengths, goal_block=goal_block))


@pytest.mark.parametrize("num_rows", [None, 10_000, 1])
def test_every_row_or_a_single_one(num_rows):
    assert_equal(*both(num_rows))


@pytest.mark.parametrize(
    "settings",
    [
        {"normalization": "paper"},
        {"weighted": False},
        {"weighted": False, "normalization": "paper"},
        {"finished": "include"},
        {"per_decision": False},
        {"window": 2, "center_advantage": True},
    ],
    ids=str,
)
def test_every_kind_of_weights(settings):
    assert_equal(*both(**settings))


def test_blocks_hold_some_goals_each_and_every_goal_once():
    torch.manual_seed(0)
    actor, critic = actor_with("gaussian"), make_critic(5, (8,)).double()
    batch = with_goals(trajectories(6, 5, actor=actor), GOALS)
    pipeline = hindsight_pipeline(actor, critic, TASK, goals=torch.nn.Identity(), goal_block=2)
    blocks = pipeline(batch.set(("hindsight", "goal_mask"), torch.ones(6, 5, 3, dtype=torch.bool)))
    assert [block.shape for block in blocks] == [(2, 6, 5), (1, 6, 5)] and len(blocks) == 2
    assert torch.equal(torch.cat([block["desired_goal"][:, 0, 0] for block in blocks]), GOALS)


def test_a_batch_without_any_live_row_gives_no_rows():
    torch.manual_seed(0)
    actor, critic = actor_with("gaussian"), make_critic(5, (8,)).double()
    batch = with_goals(trajectories(6, 5, actor=actor), GOALS)
    batch["hindsight", "goal_mask"] = torch.zeros(6, 5, 3, dtype=torch.bool)
    pipeline = hindsight_pipeline(actor, critic, TASK, goals=torch.nn.Identity(), goal_block=2)
    rows, sums = draw_rows(pipeline(batch), {"all": Draws(RowSampler(4))}, HindsightMetrics(TASK).sums)
    assert len(rows["all"][0]) == 0 and sums["goals"] == 0


def test_a_weight_that_is_not_finite_is_refused_as_in_the_whole_batch():
    torch.manual_seed(0)
    actor, critic = actor_with("gaussian"), make_critic(5, (8,)).double()
    batch = trajectories(6, 5, actor=actor)
    batch["action_log_prob"][2, 1] = torch.nan
    pipeline = hindsight_pipeline(actor, critic, TASK, goal_block=2)
    with pytest.raises(ValueError, match="finite on every live step"):
        draw_rows(pipeline(batch), {"all": Draws(RowSampler(4))}, lambda _: TensorDict())


def test_blocks_need_the_parts_that_weigh():
    pipeline = hindsight_pipeline(actor_with("gaussian"), make_critic(5), TASK)
    for hindsight in (pipeline.hindsight[:3], torch.nn.Identity()):
        with pytest.raises(ValueError, match="ends with HindsightRelabel, CumulativeGoalRatio"):
            HindsightPipeline(hindsight, pipeline.value, pipeline.advantage, goal_block=2)


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_a_block_without_goals_is_refused(value):
    with pytest.raises(ValueError, match="goal_block must be a positive integer"):
        hindsight_pipeline(actor_with("gaussian"), make_critic(5), TASK, goal_block=value)


def test_a_trainer_takes_the_same_steps(tmp_path):
    ends = []
    for block in (None, 3):
        torch.manual_seed(0)
        env = BitFlipEnv(4, num_envs=8, seed=0)
        actor, critic = make_actor(CategoricalHead(4), 8, (16,)), make_critic(8, (16,))
        pipeline = hindsight_pipeline(actor, critic, env.task(), goal_block=block)
        budget = {"gradient_rows": 64, "curvature_rows": 32, "critic_updates": 4, "critic_batch_size": 32}
        trainer = HTRPOTrainer(
            env,
            actor,
            critic,
            env.task(),
            horizon=4,
            total_steps=96,
            directory=tmp_path / str(block),
            pipeline=pipeline,
            # In float32, conjugate gradients amplify rounding unless the damping is large.
            optimizer=partial(TrustRegionOptimizer, max_divergence=0.005, damping=10.0),
            **budget,
        )
        start = parameters_to_vector(actor.parameters()).detach().clone()
        trainer.train()
        ends.append(torch.cat([parameters_to_vector(net.parameters()).detach() for net in (actor, critic)]))
        assert not torch.equal(ends[-1][: len(start)], start)
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-4)
