"""The whole way from trajectories to a step: every policy, odd batches, precision and devices."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDictBase
from torchrl.envs import Compose

from tests.cases import HEADS, actor_with, trajectories
from torchrl_htrpo.batch import RowSampler, effective_sample_size
from torchrl_htrpo.checks import set_checks
from torchrl_htrpo.envs import BitFlipEnv, EqualGoals, GoalTask
from torchrl_htrpo.evaluation import HindsightMetrics
from torchrl_htrpo.hindsight import (
    AllGoalSampler,
    CumulativeGoalRatio,
    HGFGoalSampler,
    HindsightRelabel,
    UniformGoalSampler,
)
from torchrl_htrpo.modules import CategoricalHead, GoalNormalizer, make_actor, make_critic
from torchrl_htrpo.objectives import GoalVTrace, KLLoss, QKLLoss, SampledKLLoss, StateValue, TrustRegionObjective
from torchrl_htrpo.optim import ConjugateGradient, StepResult, StepStatus, TrustRegionOptimizer

TASK = GoalTask(EqualGoals(), "paper_code")


def flow(actor, critic, sampler=None, **ratio):
    return Compose(sampler or AllGoalSampler(), HindsightRelabel(TASK), CumulativeGoalRatio(actor, **ratio))


def prepared(batch: TensorDictBase, actor, critic, sampler=None, **ratio) -> TensorDictBase:
    return GoalVTrace()(StateValue(critic)(flow(actor, critic, sampler, **ratio)(batch)))


def step(batch, actor, rows=None, iterations=10, **kwargs) -> StepResult:
    objective = TrustRegionObjective(actor, **kwargs)
    optimizer = TrustRegionOptimizer(objective.trainable_params, 1e-2, direction=ConjugateGradient(iterations))
    return optimizer.step(objective.problem((rows or RowSampler())(batch)))


def outcome(batch, actor) -> StepStatus | str:
    try:
        return step(batch, actor).status
    except ValueError as error:
        return "refused by the distribution" if "Expected parameter" in str(error) else str(error)


def flat(actor):
    return torch.cat([parameter.detach().cpu().reshape(-1) for parameter in actor.parameters()])


def critic_of(dtype=torch.float64):
    return make_critic(5, (6,)).to(dtype)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("divergence", [QKLLoss, KLLoss, SampledKLLoss])
def test_every_policy_and_divergence_takes_or_refuses_a_step_cleanly(head, divergence):
    actor = actor_with(head)
    before = flat(actor)
    batch = prepared(trajectories(6, 5, actor=actor), actor, critic_of())
    result = step(batch, actor, divergence=divergence)
    assert flat(actor).isfinite().all() and result.accepted != torch.equal(flat(actor), before)
    assert result.accepted or divergence is SampledKLLoss  # its curvature need not be positive
    assert not result.accepted or (result.gain > 0 and result.divergence <= 0.015)


@pytest.mark.parametrize("sampler", [AllGoalSampler(), UniformGoalSampler(4), HGFGoalSampler(4)])
def test_batches_without_any_valid_trajectory_do_nothing(sampler):
    actor = actor_with("gaussian")
    before = flat(actor)
    batch = prepared(trajectories(3, 4, actor=actor, lengths=[0, 0, 0]), actor, critic_of(), sampler)
    for rows in (RowSampler(), RowSampler(8)):
        assert step(batch, actor, rows).status is StepStatus.NO_ROWS
    assert torch.equal(flat(actor), before)


def test_goals_that_all_held_at_the_start_do_nothing():
    actor = actor_with("gaussian")
    batch = prepared(trajectories(3, 4, actor=actor, values=1), actor, critic_of())
    assert not batch["collector", "mask"].any() and step(batch, actor).status is StepStatus.NO_ROWS


def test_unweighted_ratios_too_large_for_a_float_never_spoil_the_parameters():
    actor = actor_with("gaussian", torch.float32)
    collected = trajectories(8, 20, actor=actor, dtype=torch.float32)
    collected["action_log_prob"] -= 30.0  # as if all actions had been next to impossible when they were taken
    batch = prepared(collected, actor, critic_of(torch.float32), weighted=False)
    log_ratio = (batch["action_log_prob"] - batch["original_log_prob"]).cumsum(-1)
    assert log_ratio[batch["collector", "mask"]].max() > 100  # more than a float32 holds
    assert batch["importance_weight"].isfinite().all()
    result = step(batch, actor)
    assert flat(actor).isfinite().all() and isinstance(result.status, StepStatus)


@pytest.mark.parametrize("key", ["observation", "action_log_prob", ("next", "achieved_goal")])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_is_refused_by_name_in_every_stage(key, bad):
    actor = actor_with("gaussian")
    before = flat(actor)
    batch = trajectories(4, 5, actor=actor).clone()
    batch[key][:, 1] = bad
    with pytest.raises(ValueError, match=r"must be finite on every live step|Expected parameter"):
        prepared(batch, actor, critic_of())
    assert torch.equal(flat(actor), before)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_policy_with_nan_gives_a_status_or_an_error_and_is_not_changed(bad):
    actor = actor_with("gaussian")
    batch = prepared(trajectories(4, 5, actor=actor), actor, critic_of())
    with torch.no_grad():
        next(actor.parameters()).fill_(bad)
    before = flat(actor)
    assert outcome(batch, actor) in {StepStatus.NON_FINITE, "refused by the distribution"}
    assert torch.equal(flat(actor).nan_to_num(7.0), before.nan_to_num(7.0))


def test_one_set_of_statistics_serves_collection_both_goals_and_the_update():
    normalizer = GoalNormalizer(4, 4)
    env = BitFlipEnv(4, num_envs=8, seed=0)
    warm = env.rollout(4)
    normalizer.update(warm["observation"], warm["achieved_goal"], warm["desired_goal"])
    actor = make_actor(CategoricalHead(4), 8, (8,), encoder=normalizer)
    critic = make_critic(8, (8,), encoder=normalizer)
    batch = env.rollout(4, actor)
    same_goal = batch.copy().set(("hindsight", "goal"), batch["desired_goal"].unsqueeze(-2))
    out = CumulativeGoalRatio(actor)(HindsightRelabel(TASK)(same_goal))
    live = out["collector", "mask"]
    assert torch.equal(out["action_log_prob"][live], out["original_log_prob"][live])
    objective = TrustRegionObjective(actor, critic)
    assert objective.divergence.log_ratio(out)[live].abs().max() < 1e-6
    mean = normalizer.goal.mean.clone()
    assert step(prepared(batch, actor, critic), actor).accepted
    assert torch.equal(normalizer.goal.mean, mean)


def test_float32_and_float64_agree():
    actor, critic = actor_with("gaussian"), critic_of()
    batch = trajectories(6, 5, actor=actor)
    exact = prepared(batch, actor, critic)
    half = batch.apply(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf)
    rough = prepared(half, copy.deepcopy(actor).float(), critic.float())
    assert torch.equal(exact["collector", "mask"], rough["collector", "mask"])
    for key in ("importance_weight", "advantage", "action_log_prob"):
        assert rough[key].dtype == torch.float32
        assert torch.allclose(rough[key].double(), exact[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sampler", ["all", "uniform", "hgf"])
def test_every_device_goes_the_same_way(device, sampler):
    actor, critic = actor_with("gaussian"), critic_of()
    batch = trajectories(6, 5, actor=actor, lengths=[5, 2, 4, 1, 5, 3])
    samplers = {"all": AllGoalSampler(), "uniform": UniformGoalSampler(50), "hgf": HGFGoalSampler(4)}
    chosen = samplers[sampler](batch) if sampler == "hgf" else None  # a random start: take the same goals
    ends = []
    for place in ("cpu", device):
        there, judge = copy.deepcopy(actor).to(place), copy.deepcopy(critic).to(place)
        goals = samplers[sampler](batch.to(place)) if chosen is None else chosen.to(place)
        relabelled = CumulativeGoalRatio(there)(HindsightRelabel(TASK)(goals))
        full = GoalVTrace()(StateValue(judge)(relabelled))
        assert step(full, there, rows=lambda rows: rows, iterations=5).accepted
        ends.append((effective_sample_size(full["hindsight", "weight"]).cpu(), flat(there)))
    assert torch.allclose(ends[0][0], ends[1][0]) and torch.allclose(ends[0][1], ends[1][1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("budget", [None, 40, 10_000])
def test_the_results_are_the_same_whether_values_are_checked_or_not(budget):
    actor, critic = actor_with("gaussian"), critic_of()
    batch, ends = trajectories(6, 5, actor=actor, lengths=[5, 2, 4, 1, 5, 3]), []
    for mode in ("sync", "off"):
        learner, judge = copy.deepcopy(actor), copy.deepcopy(critic)
        with set_checks(mode):
            full = prepared(batch, learner, judge)
            rows = RowSampler(budget, generator=torch.Generator().manual_seed(1))
            result = step(full, learner, rows)
            live = full[full["collector", "mask"]]
        assert result.accepted
        ends.append((live.exclude(("hindsight", "goal")), flat(learner), result))
    (checked, after, found), (unchecked, other, same_step) = ends
    for key in checked.keys(True, True):
        assert torch.allclose(checked[key].double(), unchecked[key].double(), rtol=0, atol=1e-12)
    assert torch.allclose(after, other, rtol=0, atol=1e-9)
    assert (found.trials, found.cg_iterations) == (same_step.trials, same_step.cg_iterations)


def test_an_update_on_any_device_draws_and_steps(device):
    actor, critic = actor_with("categorical").to(device), critic_of().to(device)
    batch = trajectories(6, 5).to(device)
    with torch.no_grad():
        actor(batch)
    full = prepared(batch, actor, critic, HGFGoalSampler(5))
    result = step(full, actor, RowSampler(64))
    assert result.accepted and next(actor.parameters()).device.type == device.type


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("per_decision", [True, False])
@pytest.mark.parametrize("log_ratio", [1e4, -1e4])
def test_ten_thousand_fold_log_ratios_over_long_episodes_leave_every_number_finite(weighted, per_decision, log_ratio):
    actor = actor_with("gaussian", torch.float32)
    collected = trajectories(4, 250, actor=actor, dtype=torch.float32, values=40)
    collected["action_log_prob"] -= log_ratio  # of each of 250 steps
    batch = prepared(
        collected, actor, critic_of(torch.float32), UniformGoalSampler(5), weighted=weighted, per_decision=per_decision
    )
    live = batch["collector", "mask"]
    assert live.sum(-1).max() > 200
    for key in ("importance_weight", "advantage", "value_target"):
        assert batch[key].isfinite().all()
    result = step(batch, actor)
    assert flat(actor).isfinite().all() and isinstance(result.status, StepStatus)


def test_weights_on_one_trajectory_are_reported_and_the_step_stays_in_its_region():
    actor = actor_with("gaussian")
    collected = trajectories(6, 5, actor=actor, values=30)
    collected["action_log_prob"][2] -= 200.0  # the third alone could have been meant for any other goal
    batch = prepared(collected, actor, critic_of())
    watch = HindsightMetrics(GoalTask(EqualGoals()))
    figures = watch(batch)
    # not quite 1: past a success of the third, its weight goes to the others
    assert figures["hindsight/trajectories"] < 1.5 and "trajectories" in watch.warned
    result = step(batch, actor)
    assert flat(actor).isfinite().all() and (not result.accepted or result.divergence <= 0.015)


@pytest.mark.parametrize("sampler", [AllGoalSampler(), UniformGoalSampler(50), HGFGoalSampler(50)])
def test_identical_achieved_goals_are_one_goal_however_many_are_asked_for(sampler):
    actor = actor_with("gaussian")
    collected = trajectories(6, 5, actor=actor)
    collected["next", "achieved_goal"] = torch.full_like(collected["next", "achieved_goal"], 7.0)
    batch = prepared(collected, actor, critic_of(), sampler)
    assert HindsightMetrics(GoalTask(EqualGoals()))(batch)["hindsight/goals"] == 1
    assert isinstance(step(batch, actor).status, StepStatus) and flat(actor).isfinite().all()


def test_a_radius_too_small_for_any_step_is_reported_with_the_reason():
    actor = actor_with("gaussian")
    before = flat(actor)
    batch = prepared(trajectories(6, 5, actor=actor), actor, critic_of())
    objective = TrustRegionObjective(actor)
    result = TrustRegionOptimizer(objective.trainable_params, 1e-300).step(objective.problem(batch))
    assert not result.accepted and torch.equal(flat(actor), before)
    watch = HindsightMetrics(GoalTask(EqualGoals()))
    watch(batch, result.status)
    assert result.status.name in watch.warned and result.metrics()["accepted"] == 0
