"""Sums over processes, and the step that processes take together."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential

from tests.cases import actor_with, weighted
from tests.processes import needs_gloo, together
from torchrl_htrpo import KLLoss, QKLLoss, StepResult, TrustRegionObjective, TrustRegionOptimizer
from torchrl_htrpo.distributed import (
    Group,
    all_cat,
    all_max,
    all_mean,
    all_sum,
    all_sum_,
    from_first,
    largest,
    rank_of,
    ranks_where,
    refuse_different,
    roll_call,
    seed_of,
    size_of,
    to_first,
    watch_of,
)
from torchrl_htrpo.evaluation.rollout import Evaluation, over_processes
from torchrl_htrpo.evaluation.statistics import success_interval
from torchrl_htrpo.optim import ConjugateGradient

Step = tuple[StepResult, TensorDictBase]
CASES = {"qkl": QKLLoss, "kl": KLLoss}


def policy() -> ProbabilisticTensorDictSequential:
    torch.manual_seed(1)
    return actor_with("gaussian")


def step(rows: TensorDictBase, divergence: str, group: Group) -> Step:
    objective = TrustRegionObjective(policy(), divergence=CASES[divergence], chunk_size=7)
    optimizer = TrustRegionOptimizer(
        objective.trainable_params, 0.01, damping=0.1, direction=ConjugateGradient(6, 1e-12)
    )
    result = optimizer.step(objective.problem(rows, process_group=group))
    return result, objective.trainable_params.data.clone()


def steps(rank: int, group: Group, rows: TensorDictBase, splits: list[list[int]]) -> dict[str, list[Step]]:
    """What each process does: every case, on its share of the rows, which may be none."""
    shares = [rows.split(sizes)[rank] for sizes in splits]
    return {name: [step(share, name, group) for share in shares] for name in CASES}


@needs_gloo
def test_processes_with_a_share_of_the_rows_take_the_step_of_one_with_all():
    batch = weighted(policy())
    keys = ("observation", "desired_goal", "action", "action_log_prob", "importance_weight", "advantage")
    rows = batch.select(*keys)[batch["collector", "mask"]].contiguous()
    third = len(rows) // 3
    first, second = together(steps, 2, rows, [[third, len(rows) - third], [len(rows), 0]])
    for name in CASES:
        alone, expected = step(rows, name, None)
        assert alone.accepted
        for (result, params), (_, others) in zip(first[name], second[name], strict=True):
            assert (result.status, result.cg_iterations) == (alone.status, alone.cg_iterations)
            assert result.gain == pytest.approx(alone.gain, rel=1e-9)
            for key, value in expected.items():
                torch.testing.assert_close(params[key], value, rtol=1e-10, atol=1e-12)
                assert torch.equal(params[key], others[key])


def primitives(rank: int, group: Group) -> dict[str, object]:
    ragged = torch.arange(2 * rank).reshape(rank, 2)
    parts = [torch.full((2,), float(rank)), torch.ones(3, 1)]
    all_sum_(parts, group)
    return {
        "sum": all_sum(torch.tensor([rank, 1]), group).tolist(),
        "max": all_max(torch.tensor([rank, -rank]), group).tolist(),
        "any": all_max(torch.tensor([rank == 1, False]), group).tolist(),
        "cat": all_cat(ragged, group).tolist(),
        "flags": all_cat(torch.tensor([rank == 1]), group).tolist(),
        "first": from_first(torch.tensor([rank, 5]), group).tolist(),
        "first flag": from_first(torch.tensor([rank == 0]), group).tolist(),
        "mean": all_mean({"a": float(rank), "b": 2.0}, group),
        "largest": (largest(rank, group), largest(0.5, group), largest(rank == 1, group)),
        "where": ranks_where(rank != 1, group),
        "to first": to_first({"rank": rank}, group) if rank == 0 else to_first({"rank": rank}, group) == [],
        "in place": [part.flatten().tolist() for part in parts],
        "evaluation": over_processes(Evaluation(rank / 2, 0.0, 1.0, 0.0, 10.0 * rank, 4.0, 20), group),
        "different": refused(rank, group),
        "roll call": called(rank, group),
    }


def refused(rank: int, group: Group) -> str:
    refuse_different("Test", "sizes", (3, 4), group)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        refuse_different("Test", "sizes", (3, rank), group)
    return str(error.value)


def called(rank: int, group: Group) -> str:
    """Process 2 stays away."""
    roll_call(group, "start", 30)
    if rank == 2:
        return ""
    with pytest.raises(RuntimeError) as error:
        roll_call(group, "work", 2)
    return str(error.value)


@needs_gloo
def test_sums_maxima_and_concatenations_are_those_of_all_processes():
    found = together(primitives, 3)
    expected = {
        "sum": [3, 3],
        "max": [2, 0],
        "any": [True, False],
        "cat": [[0, 1], [0, 1], [2, 3]],
        "flags": [False, True, False],
        "first": [0, 5],
        "first flag": [True],
        "mean": {"a": 1.0, "b": 2.0},
        "largest": (2, 0.5, True),
        "in place": [[3.0, 3.0], [3.0, 3.0, 3.0]],
        "different": "Test: sizes must be the same on all processes, got 'from [3, 0] to [3, 2]'",
    }
    low, high = success_interval(30, 60)
    expected["evaluation"] = Evaluation(0.5, low, high, 0.0, 10.0, 4.0, 60)
    expected["where"] = [0, 2]
    for results in found:
        assert {name: results[name] for name in expected} == expected
    assert found[0]["to first"] == [{"rank": 0}, {"rank": 1}, {"rank": 2}] and found[1]["to first"]
    assert "after 'work'" in found[0]["roll call"] and "2" in found[0]["roll call"]


def absent(rank: int, group: Group) -> dict[str, str]:
    """Process 2 comes late to one sum and never to another."""
    found = {}
    for name, seconds in (("late", 4.0), ("never", 15.0)):
        short = dist.new_group(timeout=timedelta(seconds=2))
        dist.barrier()
        if rank == 2:
            time.sleep(seconds)
        if rank != 2 or name == "late":
            with pytest.raises(RuntimeError) as error:
                all_sum(torch.ones(2), short)
            found[name] = str(error.value)
        dist.barrier()
    return found


@pytest.mark.slow
@needs_gloo
def test_the_error_of_a_sum_names_the_processes_that_do_not_come():
    first, second, third = together(absent, 3)
    for rank, found in enumerate((first, second)):
        assert f"process {rank} waited 2." in found["never"] or f"process {rank} waited 1." in found["never"]
        assert "processes [2] do not answer" in found["never"]
        assert "in all_reduce; all answer, and the last one came late" in found["late"]
    assert "{0: " in third["late"] and ", 2: 0.0}" in third["late"]


def test_a_single_process_gets_back_what_it_gave():
    values = torch.rand(3)
    for function in (all_sum, all_max, all_cat, from_first):
        assert function(values, None) is values
    assert all_mean({"a": 0.1}, None) == {"a": 0.1}
    assert (ranks_where(True, None), ranks_where(False, None)) == ([0], [])
    assert (largest(3, None), size_of(None), rank_of(None), seed_of(7, None)) == (3, 1, 0, 7)
    refuse_different("Test", "sizes", (1,), None)
    roll_call(watch_of(None), "start")
