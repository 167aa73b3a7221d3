"""The systems of the paper are configurations of one flow: each composes, takes a step, and is what its name says."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from torchrl.objectives.value import GAE

from tests import oracles
from tests.cases import actor_with, relabelled, trajectories
from tests.recipes.runs import budget
from torchrl_htrpo import FirstOrderOptimizer, StateValue, TrustRegionObjective, make_critic
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import CumulativeGoalRatio, HindsightRelabel, OriginalGoalSampler
from torchrl_htrpo.recipes.settings.groups import SYSTEMS
from torchrl_htrpo.records import read_table


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_takes_a_step(system, trained, tmp_path):
    trained("htrpo_bitflip", f"system={system}", budget("htrpo_bitflip", 1), directory=tmp_path)
    table = read_table(tmp_path / "metrics.csv")
    # The plain sampled KL has a Hessian of either sign: its step may be refused.
    assert table["step/accepted"][0][1] == 1 or system in {"htrpo_no_qkl", "trpo_sampled_kl"}
    assert table["hindsight/ess"][0][1] > 0


def test_htrpo_is_the_recipe_as_it_is(configured):
    assert configured("htrpo_fetch", "system=htrpo") == configured("htrpo_fetch")


def test_a_system_changes_what_it_says_and_nothing_else(configured):
    plain = configured("htrpo_fetch", tiny=False)
    changed = {}
    for system in SYSTEMS:
        cfg = configured("htrpo_fetch", f"system={system}", tiny=False)
        changed[system] = {key for key in cfg if cfg[key] != plain[key]}
    trpo = {"goals", "advantage", "divergence", "weighted", "lmbda", "gradient_rows", "curvature_rows"}
    assert changed == {
        "htrpo": set(),
        "htrpo_and_original": {"goals"},
        "htrpo_dense": {"goal_task"},
        "htrpo_no_hgf": {"goals"},
        "htrpo_no_qkl": {"divergence"},
        "htrpo_no_wis": {"weighted"},
        "htrpo_whole_ratio": {"per_decision", "ratio_window"},
        "hpg": {"goals", "trust_region"},
        "hpg_hgf": {"trust_region"},
        "trpo": trpo,
        "trpo_dense": trpo | {"goal_task"},
        "trpo_qkl": trpo - {"divergence"},
        "trpo_sampled_kl": trpo,
    }


def test_original_goals_come_beside_those_of_hgf(configured):
    cfg = configured("htrpo_fetch", "system=htrpo_and_original", "num_goals=2")
    sampler = instantiate(cfg.goals)(skip_held=EqualGoals())
    batch = trajectories()
    goals = sampler(batch)["hindsight", "goal"]
    assert goals.shape[-2] == 3 and torch.equal(goals[:, :, 2], batch["desired_goal"])


def test_hpg_is_the_hindsight_policy_gradient():
    """eq. 3 with hindsight goals: the sum over goals, trajectories and steps of w gamma^t A grad log pi(a|s,g')."""
    actor = actor_with("gaussian")
    batch = CumulativeGoalRatio(actor, gamma=0.9, normalization="paper")(relabelled(actor, lengths=[5, 2, 4, 5]))
    batch["advantage"] = torch.randn(*batch.shape, 1, dtype=torch.float64)
    leaves, before = list(actor.parameters()), [leaf.detach().clone() for leaf in actor.parameters()]
    mask, old = batch["collector", "mask"], batch["original_log_prob"]
    with torch.no_grad():
        new = actor.get_dist(batch.select(*actor.in_keys)).log_prob(batch["action"])
    weight = oracles.row_weights(oracles.wis_weights(oracles.cumulative_ratio(new, old, mask), mask), mask, 0.9)
    expected = [torch.zeros_like(leaf) for leaf in leaves]
    for index in mask.nonzero().tolist():
        row = batch[tuple(index)]
        score = actor.get_dist(row.select(*actor.in_keys)).log_prob(row["action"])
        for total, part in zip(expected, torch.autograd.grad(score, leaves), strict=True):
            total += weight[tuple(index)] * row["advantage"] * part
    objective = TrustRegionObjective(actor)
    sgd = FirstOrderOptimizer(objective.trainable_params, partial(torch.optim.SGD, lr=0.5))
    assert sgd.step(objective.problem(batch)).accepted
    for leaf, was, gradient in zip(leaves, before, expected, strict=True):
        assert torch.allclose(leaf.detach() - was, 0.5 * gradient, rtol=0, atol=1e-12)
    assert max(gradient.abs().max() for gradient in expected) > 1e-4


@pytest.mark.parametrize("lmbda", [0.0, 0.97])
def test_trpo_on_a_goal_task_is_trpo_on_the_episodes_cut_at_success(lmbda):
    """Equal weights up to the discount, ratio 1, GAE: with its own goal a trajectory is an ordinary one."""
    actor, critic, gamma = actor_with("gaussian"), make_critic(5, (6,)).double(), 0.9
    batch = trajectories(6, 5, actor=actor, values=2)
    hindsight = HindsightRelabel(GoalTask(EqualGoals()))(OriginalGoalSampler()(batch))
    weighed = CumulativeGoalRatio(actor, gamma=gamma, weighted=False)(hindsight)
    out = GAE(gamma=gamma, lmbda=lmbda, value_network=None)(StateValue(critic)(weighed))
    live = out["collector", "mask"]
    total = sum(gamma**t for _, _, t in live.nonzero().tolist())
    assert 0 < live.sum() < live.numel()
    for j, i, t in live.nonzero().tolist():
        assert out["importance_weight"][j, i, t].item() == pytest.approx(gamma**t / total, abs=1e-12)
        advantage, k, factor = 0.0, t, 1.0
        while k < 5 and live[j, i, k]:
            after = 0.0 if out["next", "terminated"][j, i, k] else out["next", "state_value"][j, i, k].item()
            delta = out["next", "reward"][j, i, k].item() + gamma * after - out["state_value"][j, i, k].item()
            advantage, factor, k = advantage + factor * delta, factor * gamma * lmbda, k + 1
        # TorchRL keeps gamma and lambda in float32
        assert math.isclose(out["advantage"][j, i, t].item(), advantage, abs_tol=1e-6)
