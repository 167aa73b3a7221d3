"""Run a function in several processes of a gloo group, and give what each returns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import spawn

needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs torch.distributed with gloo"
)


def together(function: Callable[..., Any], processes: int, *arguments: Any) -> list[Any]:
    """Call ``function(rank, group, *arguments)`` in every process; a function of a module, as spawn needs."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (function, processes, folder, arguments), nprocs=processes)
        return [torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(processes)]


def _work(rank: int, function: Callable[..., Any], processes: int, folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes, timeout=timedelta(seconds=60))
    torch.save(function(rank, dist.group.WORLD, *arguments), Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()
