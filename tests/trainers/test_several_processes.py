"""Processes with a share of the environments take the iterations of one process with all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase
from torch import Tensor

from tests.processes import needs_gloo, together
from torchrl_htrpo.distributed import Group, rank_of, size_of
from torchrl_htrpo.envs import DetourEnv
from torchrl_htrpo.evaluation import HindsightMetrics
from torchrl_htrpo.hindsight import AllGoalSampler, HGFGoalSampler, OriginalGoalSampler, UniformGoalSampler
from torchrl_htrpo.modules import GaussianHead, make_actor, make_critic, make_normalizer
from torchrl_htrpo.optim import ConjugateGradient, TrustRegionOptimizer, curvature_operator
from torchrl_htrpo.optim.vectors import dot
from torchrl_htrpo.records.checkpoints import OF_A_PROCESS
from torchrl_htrpo.records.process_states import with_states_of_all
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.trainers import GoalBlocks, HTRPOTrainer, hindsight_pipeline
from torchrl_htrpo.trainers.goal_blocks import draw_rows

WORLDS, STEPS, ITERATIONS = 6, 8, 3
# Conjugate gradients multiply rounding errors by the condition of the system, so it is a well-conditioned one.
DAMPING, SOLVER = 0.5, ConjugateGradient(4)
SAMPLERS: dict[str, Callable[..., Any]] = {
    "shared goals": partial(HGFGoalSampler, 7),
    "uniform goals": partial(UniformGoalSampler, 5),
    "all goals": AllGoalSampler,
    "a goal of each trajectory": OriginalGoalSampler,
    "both": partial(OriginalGoalSampler, partial(HGFGoalSampler, 4)),
}
CASES = {name: {"goals": name} for name in SAMPLERS} | {
    "ragged episodes": {"goals": "shared goals", "ragged": True},
    "ragged episodes of one process only": {"goals": "both", "ragged": "first"},
    "a process without a live row": {"goals": "shared goals", "dead": True},
    "the paper's units": {"goals": "shared goals", "normalization": "paper"},
    "finished trajectories included": {"goals": "shared goals", "finished": "include"},
    "centered advantages": {"goals": "shared goals", "window": 1, "center_advantage": True, "ragged": True},
    "plain ratios": {"goals": "shared goals", "weighted": False},
    "blocks of goals": {"goals": "both", "goal_block": 3},
    "blocks of goals in the paper's units": {"goals": "shared goals", "goal_block": 2, "normalization": "paper"},
}


def make_trainer(goals: str, group: Group, replay_batches: int = 1, **ratio: Any) -> HTRPOTrainer:
    """A trainer in float64 of all environments, or of the share of this process."""
    torch.manual_seed(1 + rank_of(group))  # the trainer gives all processes the networks of the first
    torch.set_default_dtype(torch.float64)
    env = DetourEnv(WORLDS // size_of(group), STEPS, wall=0.0, seed=rank_of(group))
    encoder = make_normalizer(env, 5.0).double()
    actor = make_actor(GaussianHead(2), env, (8,), encoder=encoder).double()
    critic = make_critic(env, (8,), encoder=encoder).double()
    task = env.task()
    sampler = SAMPLERS[goals](skip_held=task.reached, process_group=group)
    pipeline = hindsight_pipeline(actor, critic, task, goals=sampler, gamma=0.9, process_group=group, **ratio)
    return HTRPOTrainer(
        env,
        actor,
        critic,
        task,
        horizon=STEPS,
        pipeline=pipeline,
        optimizer=partial(TrustRegionOptimizer, max_divergence=0.005, damping=DAMPING, direction=SOLVER),
        critic_updates=3,
        critic_batch_size=100_000,
        gradient_rows=None,
        curvature_rows=None,
        replay_batches=replay_batches,
        total_steps=1000,
        directory=tempfile.gettempdir(),
        process_group=group,
    )


def collected(ragged: bool | str = False, dead: bool = False) -> list[TensorDictBase]:
    """The batches of all environments, of a policy that is none of the trainer's."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    env = DetourEnv(WORLDS, STEPS, wall=0.0, seed=5)
    actor = make_actor(GaussianHead(2), env, (8,), encoder=make_normalizer(env, 5.0)).double()
    batches = [env.rollout(STEPS, actor).detach() for _ in range(ITERATIONS)]
    for batch in batches:
        if ragged:  # another episode begins in the middle of some rows
            rows = [0, 1] if ragged == "first" else [0, 2, 3, 5]
            for flag in ("done", "truncated"):
                batch["next", flag][rows, torch.tensor([2, 5, 3, 6])[: len(rows)]] = True
        if dead:
            live = torch.ones(WORLDS, STEPS, dtype=torch.bool)
            live[WORLDS - WORLDS // 3 :] = False  # all rows of the last process of three
            batch["collector", "mask"] = live
    return batches


def iterate(rank: int, group: Group, case: dict[str, Any]) -> list[dict[str, Tensor]]:
    """What three iterations on this process's share of the batches come to."""
    case = dict(case)
    batches = collected(case.pop("ragged", False), case.pop("dead", False))
    trainer, found = make_trainer(case.pop("goals"), group, **case), []
    for number, batch in enumerate(batches):
        mine = batch.split(WORLDS // size_of(group))[rank]
        torch.manual_seed(number)
        relabelled = trainer.pipeline(trainer.trajectories(mine.reshape(-1, STEPS)))
        drawn, _ = draw_rows(relabelled, trainer.draws, HindsightMetrics(trainer.task, group).sums)
        problem = trainer.objective.problem(next(iter(drawn["gradient"])), process_group=group)
        params = trainer.objective.trainable_params.data
        _, _, gradient = problem.value_and_gradient(params)
        operator = curvature_operator(problem, params)
        damping = DAMPING * dot(gradient, operator @ gradient).item() / dot(gradient, gradient).item()
        solution = SOLVER(operator, gradient, damping=damping)
        torch.manual_seed(number)
        metrics = trainer.update(mine)
        state = trainer.actor.state_dict() | {f"critic {k}": v for k, v in trainer.critic.state_dict().items()}
        found.append(
            {
                **of_trajectories(relabelled),
                "gradient": flat(gradient),
                "direction": flat(solution.x),
                "parameters": torch.cat([value.reshape(-1) for value in state.values()]),
                "metrics": torch.tensor([metrics[name] for name in EQUAL_METRICS]),
            }
        )
    return found


EQUAL_METRICS = (
    "step/gain",
    "step/divergence",
    "step/accepted",
    "hindsight/ess",
    "hindsight/goals",
    "hindsight/trajectories",
)
EQUAL_METRICS += ("critic/loss",)


def of_trajectories(relabelled: TensorDictBase | GoalBlocks) -> dict[str, Tensor]:
    """Weights and goals ``[G, N, T, ...]`` of the trajectories of this process; blocks are not kept."""
    if isinstance(relabelled, GoalBlocks):
        return {}
    return {"weights": relabelled["importance_weight"], "goals": relabelled["desired_goal"]}


def flat(vector: TensorDictBase) -> Tensor:
    return torch.cat([vector[key].reshape(-1) for key in vector.keys(True, True)])


@pytest.fixture(autouse=True)
def _default_dtype():
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def iterate_all(rank: int, group: Group) -> dict[str, list[dict[str, Tensor]]]:
    return {name: iterate(rank, group, case) for name, case in CASES.items()}


@pytest.fixture(scope="module", params=[2, 3])
def of_processes(request) -> list[dict[str, list[dict[str, Tensor]]]]:
    return together(iterate_all, request.param)


@pytest.mark.slow
@needs_gloo
@pytest.mark.parametrize("case", CASES)
def test_processes_take_the_iterations_of_one(case, of_processes):
    alone, each = iterate(0, None, CASES[case]), [found[case] for found in of_processes]
    moved = alone[-1]["parameters"] - alone[0]["parameters"]
    assert moved.abs().max() > 1e-4  # there is something to agree about
    for number, expected in enumerate(alone):
        parts = [found[number] for found in each]
        for name, value in expected.items():
            if name in ("weights", "goals"):
                found = torch.cat([part[name] for part in parts], 1)
            else:
                found = parts[0][name]
                assert all(torch.equal(part[name], found) for part in parts), name
            error = (found - value).abs().max() / value.abs().max()
            assert error < 1e-9, (name, number, error)


RESUMED = ("all goals", "a goal of each trajectory")  # without a random choice among trajectories, whose order differs


def with_replay(rank: int, group: Group, folder: str, begin: bool) -> list[Tensor]:
    """Save after three iterations with the last two batches stored, or load and take two more; the parameters then."""
    found = []
    for goals in RESUMED:
        trainer, batches = make_trainer(goals, group, replay_batches=2), collected()
        components = with_states_of_all(trainer.components(), group)
        checkpoint = SealedCheckpoint(**{name: part for name, part in components.items() if name not in OF_A_PROCESS})
        if not begin:
            checkpoint.load(Path(folder, goals))
        for batch in batches if begin else batches[1::-1]:
            trainer.update(batch.split(WORLDS // size_of(group))[rank])
        if begin and group is not None:
            components["replay"].gather()
        if begin and rank == 0:
            checkpoint.save(Path(folder, goals))
        parameters = *trainer.actor.parameters(), *trainer.critic.parameters()
        found.append(torch.cat([value.detach().reshape(-1) for value in parameters]))
    return found


@pytest.mark.slow
@needs_gloo
def test_another_number_of_processes_goes_on_with_the_stored_batches(tmp_path):
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    saved = with_replay(0, None, one, True)
    together(with_replay, 2, two, True)
    expected = with_replay(0, None, one, False)
    cases = {"2 to 1": [with_replay(0, None, two, False)]}
    cases |= {"1 to 2": together(with_replay, 2, one, False), "2 to 3": together(with_replay, 3, two, False)}
    for case, found in cases.items():
        for before, alone, *each in zip(saved, expected, *found, strict=True):
            assert (alone - before).abs().max() > 1e-4
            for parameters in each:
                assert (parameters - alone).abs().max() / alone.abs().max() < 1e-9, case
