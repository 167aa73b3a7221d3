"""Rows in several processes: each takes the step of one process with all rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch.multiprocessing import spawn

from tests.cases import actor_with, weighted
from torchrl_htrpo import KLLoss, QKLLoss, StepResult, TrustRegionObjective, TrustRegionOptimizer
from torchrl_htrpo.optim import ConjugateGradient

CASES = {"qkl": QKLLoss, "kl": KLLoss}
PROCESSES = 2


def policy() -> ProbabilisticTensorDictSequential:
    torch.manual_seed(1)
    return actor_with("gaussian")


def step(rows: TensorDictBase, divergence: str, group: dist.ProcessGroup | None) -> tuple[StepResult, TensorDictBase]:
    objective = TrustRegionObjective(policy(), divergence=CASES[divergence], chunk_size=7)
    optimizer = TrustRegionOptimizer(
        objective.trainable_params, 0.01, damping=0.1, direction=ConjugateGradient(6, 1e-12)
    )
    result = optimizer.step(objective.problem(rows, process_group=group))
    return result, objective.trainable_params.data.clone()


def work(rank: int, folder: str, splits: list[list[int]]) -> None:
    """What each process does: every case, on its share of the rows, which may be none."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    rows = torch.load(f"{folder}/rows.pt", weights_only=False)
    shares = [rows.split(sizes)[rank] for sizes in splits]
    found = {name: [step(share, name, dist.group.WORLD) for share in shares] for name in CASES}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs torch.distributed with gloo")
def test_processes_with_a_share_of_the_rows_take_the_step_of_one_with_all(tmp_path: Path):
    batch = weighted(policy())
    keys = ("observation", "desired_goal", "action", "action_log_prob", "importance_weight", "advantage")
    rows = batch.select(*keys)[batch["collector", "mask"]].contiguous()
    torch.save(rows, tmp_path / "rows.pt")
    third = len(rows) // 3
    spawn(work, (str(tmp_path), [[third, len(rows) - third], [len(rows), 0]]), nprocs=PROCESSES)
    first, second = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(PROCESSES)]
    for name in CASES:
        alone, expected = step(rows, name, None)
        assert alone.accepted
        for (result, params), (_, others) in zip(first[name], second[name], strict=True):
            assert (result.status, result.cg_iterations) == (alone.status, alone.cg_iterations)
            assert result.gain == pytest.approx(alone.gain, rel=1e-9)
            for key, value in expected.items():
                torch.testing.assert_close(params[key], value, rtol=1e-10, atol=1e-12)
                assert torch.equal(params[key], others[key])
