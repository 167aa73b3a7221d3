"""Every public class and function refuses values that make no sense, and names the argument.

The attacks are generated from the signatures: a number, a switch, a choice, a list of sizes or a text gets what its
type cannot be. Arguments that are objects (a task, an actor, a key) are used as what they are, as Python does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from math import inf, nan
from pathlib import Path
from tempfile import mkdtemp
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import torch
from tensordict import TensorDict
from torchrl.modules import ConvNet

import torchrl_htrpo as ht
from torchrl_htrpo import batch, envs, evaluation, hindsight, modules, objectives, optim, records, trainers
from torchrl_htrpo.recipes.action_cost_ddpg import ActionCostDDPGLoss
from torchrl_htrpo.recipes.bounded_td0 import BoundedTD0

ROOMS = ("batch", "envs", "evaluation", "hindsight", "modules", "objectives", "optim", "records", "trainers", "recipes")
RECIPES = {"BoundedTD0": BoundedTD0, "ActionCostDDPGLoss": ActionCostDDPGLoss}
NONSENSE = {
    "number": [nan, inf, -inf, -1, -0.5, True, "x", [1]],
    "switch": [0, 1, 2, "yes", nan, [True]],
    "choice": ["foo", 3, nan, True],
    "sizes": ["x", [0], [-1], [2.5], [nan], [True], ["a"], 8],
    "text": [3, nan, True],
}
# Results, which no user makes; bases and problems, whose arguments are objects; what needs Ray or a folder of a run.
NOT_INPUTS = {"CGSolution", "SearchResult", "StepResult", "Evaluation", "PolicyHead", "PositionGoalEnv", "RayWorkers"}
NOT_INPUTS |= {"record_gif", "plot_run", "load_policy", "DivergenceLoss", "StepStatus"}
JUDGED_ELSEWHERE = {"device", "directory"}  # torch and pathlib name these


@cache
def env() -> Any:
    return envs.BitFlipEnv(4, num_envs=2)


def actor() -> Any:
    return ht.make_actor(modules.CategoricalHead(4), 8, (4,))


def critic() -> Any:
    return ht.make_critic(8, (4,))


def goal_blocks(**arguments: Any) -> object:
    rolled = hindsight.AllGoalSampler()(env().rollout(4, actor()))
    ratio = hindsight.CumulativeGoalRatio(actor())
    return trainers.GoalBlocks(**{"batch": rolled, "relabel": lambda part: part, "ratio": ratio, **arguments})


def trainer(**arguments: Any) -> object:
    sizes = {"horizon": 4, "total_steps": 8, "directory": mkdtemp(), **arguments}
    return trainers.HTRPOTrainer(env(), actor(), critic(), env().task(), **sizes)


def loop(**arguments: Any) -> object:
    sizes = {"total_steps": 8, "batch_steps": 8, "directory": mkdtemp(), **arguments}
    return trainers.Trainer(env(), actor(), **sizes)


def pipeline(**arguments: Any) -> object:
    return trainers.HindsightPipeline(torch.nn.Identity(), torch.nn.Identity(), objectives.GoalVTrace(), **arguments)


def run(**arguments: Any) -> object:
    needed = {"total_steps": 4, "name": "x", "components": {"net": torch.nn.Linear(1, 1)}, **arguments}
    return records.Run(Path(mkdtemp()), **needed)


def map_rows(**arguments: Any) -> object:
    data = TensorDict(x=torch.zeros(3), batch_size=[3])
    return batch.map_rows(lambda rows: rows["x"], data, torch.ones(3, dtype=torch.bool), **arguments)


def fetch(**arguments: Any) -> object:
    pytest.importorskip("mujoco")
    return envs.FetchEnv(**{"task": "reach", "num_envs": 1, **arguments})


def pacman(**arguments: Any) -> object:
    pytest.importorskip("ale_py")
    return envs.MsPacmanEnv(**arguments)


def goal_env(**arguments: Any) -> object:
    pytest.importorskip("mujoco")
    return envs.make_goal_env(**{"name": "reach", "num_envs": 1, **arguments})


def of(make: Callable[..., Any], **needed: Callable[[], Any]) -> Callable[..., Any]:
    """A call with what it needs, made anew each time."""
    return lambda **arguments: make(**({name: new() for name, new in needed.items()} | arguments))


# How to make each, with only what it needs.
CASES: dict[str, Callable[..., Any]] = {
    "RowSampler": batch.RowSampler,
    "Draws": partial(batch.Draws, batch.RowSampler(4)),
    "map_rows": partial(map_rows, chunk_size=2),
    "BitFlipEnv": partial(envs.BitFlipEnv, num_bits=4),
    "DetourEnv": envs.DetourEnv,
    "GearShiftEnv": envs.GearShiftEnv,
    "GridMazeEnv": envs.GridMazeEnv,
    "HiddenGapEnv": envs.HiddenGapEnv,
    "FetchEnv": fetch,
    "MsPacmanEnv": pacman,
    "EnvBatch": partial(envs.EnvBatch, [lambda: envs.BitFlipEnv(4)]),
    "FiniteGuard": envs.FiniteGuard,
    "GoalTask": partial(envs.GoalTask, envs.EqualGoals()),
    "WithinDistance": partial(envs.WithinDistance, threshold=0.1),
    "make_goal_env": goal_env,
    "with_history": of(envs.with_history, env=env, steps=lambda: 2),
    "collect_episodes": of(evaluation.collect_episodes, env=env, actor=actor, episodes=lambda: 2, horizon=lambda: 4),
    "evaluate": of(
        evaluation.evaluate,
        env=env,
        actor=actor,
        task=lambda: env().task(),
        episodes=lambda: 2,
        horizon=lambda: 4,
    ),
    "success_interval": partial(evaluation.success_interval, successes=3, episodes=4),
    "CumulativeGoalRatio": of(hindsight.CumulativeGoalRatio, actor=actor),
    "HGFGoalSampler": partial(hindsight.HGFGoalSampler, num_goals=4),
    "UniformGoalSampler": partial(hindsight.UniformGoalSampler, num_goals=4),
    "HindsightRelabel": of(hindsight.HindsightRelabel, task=lambda: env().task()),
    "HindsightReplay": of(hindsight.HindsightReplay, task=lambda: env().task(), num_rows=lambda: 4),
    "CategoricalHead": partial(modules.CategoricalHead, num_actions=4),
    "OneHotHead": partial(modules.OneHotHead, num_actions=4),
    "MaskedCategoricalHead": partial(modules.MaskedCategoricalHead, num_actions=4),
    "MultiCategoricalHead": partial(modules.MultiCategoricalHead, num_actions=[2, 3]),
    "GaussianHead": partial(modules.GaussianHead, action_size=2),
    "FullCovarianceHead": partial(modules.FullCovarianceHead, action_size=2),
    "TanhNormalHead": partial(modules.TanhNormalHead, action_size=2),
    "GaussianMixtureHead": partial(modules.GaussianMixtureHead, action_size=2),
    "TanhGaussianMixtureHead": partial(modules.TanhGaussianMixtureHead, action_size=2),
    "GoalMemory": partial(modules.GoalMemory, observation_size=3, goal_size=2),
    "GoalNormalizer": partial(modules.GoalNormalizer, observation_size=3, goal_size=2),
    "RunningNormalizer": partial(modules.RunningNormalizer, size=3),
    "PixelGoalEncoder": of(
        modules.PixelGoalEncoder,
        trunk=lambda: ConvNet(1, num_cells=[2]),
        shape=lambda: (1, 3, 3),
        goal_size=lambda: 2,
    ),
    "make_actor": of(modules.make_actor, head=lambda: modules.CategoricalHead(4), input_size=lambda: 8),
    "make_critic": partial(modules.make_critic, input_size=8),
    "make_normalizer": of(modules.make_normalizer, env=env),
    "orthogonal_": of(modules.orthogonal_, layers=lambda: torch.nn.Sequential(torch.nn.Linear(2, 2))),
    "GoalVTrace": objectives.GoalVTrace,
    "StateValue": of(objectives.StateValue, critic=critic),
    "TrustRegionObjective": of(objectives.TrustRegionObjective, actor_network=actor, critic_network=critic),
    "BacktrackingLineSearch": optim.BacktrackingLineSearch,
    "ConjugateGradient": optim.ConjugateGradient,
    "TrustRegionOptimizer": of(
        optim.TrustRegionOptimizer, params=lambda: TensorDict(x=torch.zeros(2)), max_divergence=lambda: 0.1
    ),
    "Run": run,
    "Evaluator": of(trainers.Evaluator, env=env, task=lambda: env().task(), horizon=lambda: 4),
    "GoalBlocks": partial(goal_blocks, goals=2),
    "HTRPOTrainer": trainer,
    "Trainer": loop,
    "HindsightPipeline": pipeline,
    "hindsight_pipeline": of(trainers.hindsight_pipeline, actor=actor, critic=critic, task=lambda: env().task()),
    "seed_everything": partial(trainers.seed_everything, seed=0),
    "BoundedTD0": partial(BoundedTD0, gamma=0.9, value_network=None, low=-1.0, high=1.0),
    "ActionCostDDPGLoss": of(ActionCostDDPGLoss, actor_network=actor, value_network=critic, action_cost=lambda: 1.0),
}
SENSIBLE = {
    ("BoundedTD0", "low"),  # bounds of any sign, infinite for rewards without one; checked against each other
    ("BoundedTD0", "high"),
    ("Trainer", "name"),  # judged by Run when the run begins
}
CALLED = {("Run", "backend"): "logger"}  # as the recipes call it


def kinds(hint: Any) -> list[Any]:
    parts = get_args(hint) if get_origin(hint) in (UnionType, Union) else [hint]
    return [one for part in parts for one in (kinds(part) if part is not hint else [part])]


def kind_of(hint: Any) -> str | None:
    every = kinds(hint)
    if any(get_origin(one) is tuple for one in every):  # a nested key
        return None
    if any(get_origin(one) is Literal for one in every):
        return "choice"
    if bool in every:
        return "switch"
    if int in every or float in every:
        return "number"
    if any(isinstance(get_origin(one), type) and get_args(one) == (int,) for one in every):
        return "sizes"
    return "text" if str in every else None


def public(name: str) -> Any:
    rooms = (import_module(f"torchrl_htrpo.{room}") for room in ROOMS)
    return RECIPES.get(name) or next(getattr(room, name) for room in rooms if hasattr(room, name))


def arguments_of(made: Any) -> Iterator[tuple[str, list[Any]]]:
    """Arguments with what makes no sense for them."""
    function = made.__init__ if inspect.isclass(made) else made
    for name, argument in inspect.signature(function, eval_str=True).parameters.items():
        kind = kind_of(argument.annotation)
        if kind and name not in JUDGED_ELSEWHERE and argument.kind != argument.VAR_KEYWORD:
            optional = NoneType in kinds(argument.annotation)
            yield name, NONSENSE[kind] + ([] if optional else [None])


@pytest.mark.parametrize("name", CASES)
def test_nonsense_is_refused_by_name(name):
    CASES[name]()  # without nonsense
    tried, opaque = 0, []
    for argument, values in arguments_of(public(name)):
        for value in values:
            if (name, argument) in SENSIBLE:
                continue
            with pytest.raises((ValueError, TypeError)) as refused:
                pytest.fail(f"{name}({argument}={value!r}) gives {CASES[name](**{argument: value})!r}")
            tried += 1
            said = CALLED.get((name, argument), argument)
            opaque += [] if said in str(refused.value) else [f"{argument}={value!r}: {refused.value}"]
    assert tried and not opaque


def test_everything_public_is_attacked():
    missing = set()
    for room in ROOMS:
        names = import_module(f"torchrl_htrpo.{room}").__all__
        for name in {*names} - NOT_INPUTS - CASES.keys():
            made = public(name)
            known = callable(made) and not (inspect.isclass(made) and issubclass(made, Exception))
            if known and any(True for _ in arguments_of(made)):
                missing.add(name)
    assert not missing, f"add {sorted(missing)} to CASES"
