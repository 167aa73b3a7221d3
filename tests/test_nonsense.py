"""Every public constructor refuses numbers that make no sense, and says which argument of which class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from math import inf, nan
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torchrl.modules import ConvNet

import torchrl_htrpo as ht
from torchrl_htrpo import batch, envs, evaluation, hindsight, modules, objectives, optim
from torchrl_htrpo.recipes.action_cost_ddpg import ActionCostDDPGLoss
from torchrl_htrpo.recipes.bounded_td0 import BoundedTD0

ROOMS = ("batch", "envs", "evaluation", "hindsight", "modules", "objectives", "optim")
NONSENSE = (nan, inf, -inf, -1, -0.5, True, "x")
# Results, which no user makes, and bases: no argument of theirs is checked.
NOT_INPUTS = {"CGSolution", "SearchResult", "StepResult", "Evaluation", "PolicyHead", "PositionGoalEnv"}


def actor() -> Any:
    return ht.make_actor(modules.CategoricalHead(4), 8, (4,))


def critic() -> Any:
    return ht.make_critic(8, (4,))


def make_env() -> Any:
    return envs.BitFlipEnv(4, num_envs=1)


def params() -> TensorDict:
    return TensorDict(x=torch.zeros(2))


# How to make each class, and its numeric arguments with a value that is accepted.
CASES: dict[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    "RowSampler": (batch.RowSampler, {"num_rows": 4, "uniform_share": 0.5}),
    "Draws": (partial(batch.Draws, batch.RowSampler(4)), {"count": 2}),
    "FiniteGuard": (envs.FiniteGuard, {"limit": 10.0}),
    "GoalTask": (partial(envs.GoalTask, envs.EqualGoals()), {"success_reward": 1.0}),
    "WithinDistance": (envs.WithinDistance, {"threshold": 0.1}),
    "BitFlipEnv": (envs.BitFlipEnv, {"num_bits": 4, "num_envs": 2}),
    "DetourEnv": (envs.DetourEnv, {"horizon": 4, "num_envs": 2}),
    "GearShiftEnv": (envs.GearShiftEnv, {"horizon": 4, "num_envs": 2}),
    "GridMazeEnv": (envs.GridMazeEnv, {"horizon": 4, "num_envs": 2, "slip": 0.1}),
    "HiddenGapEnv": (envs.HiddenGapEnv, {"horizon": 4, "num_envs": 2}),
    "EnvBatch": (lambda **kw: envs.EnvBatch([make_env], **kw), {"timeout": 5.0, "num_workers": 0}),
    "CumulativeGoalRatio": (lambda **kw: hindsight.CumulativeGoalRatio(actor(), **kw), {"gamma": 0.9, "chunk_size": 4}),
    "HGFGoalSampler": (hindsight.HGFGoalSampler, {"num_goals": 4, "resolution": 0.1}),
    "UniformGoalSampler": (hindsight.UniformGoalSampler, {"num_goals": 4}),
    "HindsightReplay": (
        partial(hindsight.HindsightReplay, envs.GoalTask(envs.EqualGoals())),
        {"num_rows": 4, "share": 1},
    ),
    "CategoricalHead": (modules.CategoricalHead, {"num_actions": 4, "uniform_share": 0.1}),
    "OneHotHead": (modules.OneHotHead, {"num_actions": 4, "uniform_share": 0.1}),
    "MaskedCategoricalHead": (modules.MaskedCategoricalHead, {"num_actions": 4, "uniform_share": 0.1}),
    "MultiCategoricalHead": (partial(modules.MultiCategoricalHead, [2, 3]), {"uniform_share": 0.1}),
    "GaussianHead": (modules.GaussianHead, {"action_size": 2, "init_scale": 1.0, "min_scale": 0.1}),
    "FullCovarianceHead": (modules.FullCovarianceHead, {"action_size": 2, "init_scale": 1.0, "min_scale": 0.1}),
    "TanhNormalHead": (modules.TanhNormalHead, {"action_size": 2, "min_scale": 0.1}),
    "GoalMemory": (modules.GoalMemory, {"observation_size": 3, "goal_size": 2, "hidden_size": 4}),
    "GoalNormalizer": (modules.GoalNormalizer, {"observation_size": 3, "goal_size": 2, "clip": 5.0}),
    "RunningNormalizer": (modules.RunningNormalizer, {"size": 3, "clip": 5.0, "min_std": 0.1}),
    "PixelGoalEncoder": (partial(modules.PixelGoalEncoder, ConvNet(1, num_cells=[2]), (1, 3, 3)), {"goal_size": 2}),
    "GoalVTrace": (objectives.GoalVTrace, {"gamma": 0.9, "lmbda": 0.9}),
    "StateValue": (lambda **kw: objectives.StateValue(critic(), **kw), {"chunk_size": 4}),
    "TrustRegionObjective": (lambda **kw: objectives.TrustRegionObjective(actor(), **kw), {"chunk_size": 4}),
    "BacktrackingLineSearch": (
        optim.BacktrackingLineSearch,
        {"max_trials": 4, "shrink": 0.5, "accept_ratio": 0.1, "divergence_tolerance": 1.5},
    ),
    "ConjugateGradient": (optim.ConjugateGradient, {"max_iterations": 4, "tolerance": 0.1}),
    "TrustRegionOptimizer": (
        lambda **kw: optim.TrustRegionOptimizer(params(), **kw),
        {"max_divergence": 0.1, "damping": 0.1, "cache_bytes": 8},
    ),
    "success_interval": (evaluation.success_interval, {"successes": 3, "episodes": 4, "confidence": 0.9}),
    "BoundedTD0": (lambda **kw: BoundedTD0(value_network=None, **kw), {"gamma": 0.9, "low": -1.0, "high": 1.0}),
    "ActionCostDDPGLoss": (lambda **kw: ActionCostDDPGLoss(actor(), critic(), **kw), {"action_cost": 1.0}),
}
for name in ("GaussianMixtureHead", "TanhGaussianMixtureHead"):
    numbers = {
        "action_size": 2,
        "num_components": 3,
        "init_scale": 1.0,
        "min_scale": 0.1,
        "spread": 0.1,
        "min_weight": 0.1,
    }
    CASES[name] = (getattr(modules, name), numbers)

# What is sensible after all.
SENSIBLE = {
    ("BoundedTD0", "low", -inf),  # rewards without a bound
    ("BoundedTD0", "high", inf),
    ("BoundedTD0", "low", -1),
    ("BoundedTD0", "low", -0.5),
    ("BoundedTD0", "high", -0.5),
    ("BoundedTD0", "high", -1),
}
ATTACKS = [
    pytest.param(name, argument, value, id=f"{name}-{argument}-{value}")
    for name, (_, numbers) in CASES.items()
    for argument in numbers
    for value in NONSENSE
    if (name, argument, value) not in SENSIBLE
    # A bound of any sign is checked against the other one only.
    and not (name == "BoundedTD0" and argument != "gamma" and (value is True or value == "x"))
]
MAY_BE_ZERO = {"num_workers", "cache_bytes", "successes", "share"}
ATTACKS += [
    pytest.param(name, argument, 0, id=f"{name}-{argument}-0")
    for name, (_, numbers) in CASES.items()
    for argument, value in numbers.items()
    if isinstance(value, int) and argument not in MAY_BE_ZERO
]


@pytest.mark.parametrize("name", CASES)
def test_the_sensible_numbers_are_accepted(name):
    make, numbers = CASES[name]
    make(**numbers)


@pytest.mark.parametrize(("name", "argument", "value"), ATTACKS)
def test_nonsense_is_refused_by_name(name, argument, value):
    make, numbers = CASES[name]
    with pytest.raises((ValueError, TypeError)) as refused:
        make(**{**numbers, argument: value})
    message = str(refused.value)
    assert argument in message or (name == "BoundedTD0" and "low" in message), message
    assert any(owner in message for owner in (name, "RunningNormalizer")), message


def test_every_public_class_with_numeric_arguments_is_attacked():
    missing = set()
    for room in ROOMS:
        module = import_module(f"torchrl_htrpo.{room}")
        for name in module.__all__:
            found = getattr(module, name, None) if name not in ("FetchEnv", "MsPacmanEnv") else None
            if inspect.isclass(found) and name not in NOT_INPUTS | CASES.keys():
                arguments = inspect.signature(found.__init__).parameters.values()
                kinds = [str(argument.annotation) for argument in arguments]
                if any(kind.split(" ")[0] in ("int", "float") for kind in kinds):
                    missing.add(name)
    assert not missing, f"add {sorted(missing)} to CASES"
