"""Whatever numbers a batch holds, policy and critic stay finite: a step, a named refusal, or nothing.

The number of examples is that of the environment variable ``FAULT_EXAMPLES`` (default 1 000); ``FAULT_SEED`` makes them
others. ``benchmarks/soak_faults.py`` runs many.
"""

from __future__ import annotations

import math
import os
import re

import pytest
import torch
from hypothesis import event, given, seed, settings
from hypothesis import strategies as st
from tensordict import TensorDictBase
from torch.nn.utils import clip_grad_norm_
from torchrl.envs import Compose

from tests.cases import ALL_HEADS, HEADS, actor_with, trajectories
from torchrl_htrpo.batch import RowSampler
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import (
    AllGoalSampler,
    CumulativeGoalRatio,
    HGFGoalSampler,
    HindsightRelabel,
    OriginalGoalSampler,
    UniformGoalSampler,
)
from torchrl_htrpo.modules import make_critic
from torchrl_htrpo.objectives import GoalVTrace, KLLoss, QKLLoss, SampledKLLoss, StateValue, TrustRegionObjective
from torchrl_htrpo.optim import ConjugateGradient, StepStatus, TrustRegionOptimizer

CLOSED = {*HEADS, "uniform_share"}
EXAMPLES = int(os.environ.get("FAULT_EXAMPLES", "1000"))
WIDE = torch.finfo(torch.float32)
NUMBERS = [math.nan, math.inf, -math.inf, 1e4, -1e4, 1e30, -1e30, WIDE.max, WIDE.tiny, 0.0]
COLLECTED = ["observation", "desired_goal", "achieved_goal", "action", "action_log_prob", ("next", "achieved_goal")]
COLLECTED += [("next", "observation")]
PREPARED = ["advantage", "value_target", "importance_weight", "action_log_prob", "original_log_prob", "observation"]
SAMPLERS = {
    "all": AllGoalSampler,
    "uniform": lambda: UniformGoalSampler(3),
    "hgf": lambda: HGFGoalSampler(3),
    "original": OriginalGoalSampler,
}
# Refusals: ours say which entry, torch's distributions which parameter, its gradient norm what is not finite.
NAMED = re.compile(r"^\w+: .* must be |Expected (parameter|value argument)|gradients .* is non-finite")


def faults(keys):
    """Up to three entries, each set to a number over all rows or in one."""
    where = st.one_of(st.none(), st.integers(0, 99))
    return st.lists(st.tuples(st.sampled_from(keys), st.sampled_from(NUMBERS), where), max_size=3)


SETTINGS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**16),
        "head": st.sampled_from(sorted(ALL_HEADS)),
        "sampler": st.sampled_from(sorted(SAMPLERS)),
        "divergence": st.sampled_from([QKLLoss, KLLoss, SampledKLLoss]),
        "lengths": st.one_of(st.none(), st.lists(st.integers(0, 4), min_size=3, max_size=3)),
        "goals": st.sampled_from([3, 2, 4, 1]),  # 1: every goal held before the start, nothing is left to learn
        "weighted": st.booleans(),
        "per_decision": st.booleans(),
        "rows": st.sampled_from([None, 1, 16]),
        "impossible": st.sampled_from([0.0, 30.0, 1e4, -1e4]),
        "damping": st.sampled_from([0.0, 1e-8, 1e-2]),
    }
)


def spoil(batch: TensorDictBase, found: list) -> TensorDictBase:
    """Set entries to numbers, in their own storage."""
    batch = batch.clone()
    for key, number, where in found:
        entry = batch.get(key, default=None)
        if entry is None or not entry.is_floating_point():
            continue
        rows = entry.reshape(-1, *entry.shape[batch.ndim :])
        rows[slice(None) if where is None else where % max(1, len(rows))] = number
        batch.set(key, rows.reshape(entry.shape))
    return batch


def update(actor, critic, collected: list, prepared: list, cfg: dict) -> str:
    """One update as the recipes do it: a status or a refusal."""
    batch = trajectories(3, 4, actor=actor, lengths=cfg["lengths"], values=cfg["goals"], dtype=torch.float32)
    batch["action_log_prob"] = batch["action_log_prob"] - cfg["impossible"]  # ratios of e**30 and e**10000 in a step
    ratio = CumulativeGoalRatio(actor, weighted=cfg["weighted"], per_decision=cfg["per_decision"])
    hindsight = Compose(SAMPLERS[cfg["sampler"]](), HindsightRelabel(GoalTask(EqualGoals(), "paper_code")), ratio)
    full = GoalVTrace(0.98, 0.95)(StateValue(critic)(hindsight(spoil(batch, collected))))
    full = spoil(full, prepared)
    closed = cfg["head"] in CLOSED  # torch knows the KL of no other
    objective = TrustRegionObjective(actor, critic, divergence=cfg["divergence"] if closed else QKLLoss)
    optimizer = TrustRegionOptimizer(
        objective.trainable_params, 1e-2, damping=cfg["damping"], direction=ConjugateGradient(4)
    )
    status = optimizer.step(objective.problem(RowSampler(cfg["rows"])(full))).status
    adam = torch.optim.Adam(critic.parameters(), lr=1e-3)
    loss = objective.loss_critic(RowSampler(cfg["rows"], uniform_share=1.0)(full))
    adam.zero_grad()
    loss.backward()
    clip_grad_norm_(critic.parameters(), math.inf, error_if_nonfinite=True)
    adam.step()
    return status.name


def outcome(actor, critic, collected, prepared, cfg) -> str:
    try:
        return update(actor, critic, collected, prepared, cfg)
    except (ValueError, RuntimeError) as error:
        return "REFUSED" if NAMED.search(str(error)) else f"unnamed: {error}"


def parameters(*modules) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for module in modules for parameter in module.parameters()])


@pytest.mark.slow
@(seed(int(os.environ["FAULT_SEED"])) if "FAULT_SEED" in os.environ else lambda test: test)
@settings(max_examples=EXAMPLES)
@given(SETTINGS, faults(COLLECTED), faults(PREPARED))
def test_no_batch_makes_a_parameter_that_is_not_finite(cfg, collected, prepared):
    torch.manual_seed(cfg["seed"])
    actor, critic = actor_with(cfg["head"], torch.float32, (4,)), make_critic(5, (4,))
    before = parameters(actor)
    end = outcome(actor, critic, collected, prepared, cfg)
    event(end)
    assert parameters(actor, critic).isfinite().all(), end
    assert end == "REFUSED" or end in StepStatus.__members__, end
    if end not in {StepStatus.ACCEPTED.name, "REFUSED"}:
        assert torch.equal(parameters(actor), before), end
