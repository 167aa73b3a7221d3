"""Join the processes that torchrun started: ``torchrun --nproc-per-node 2 -m torchrl_htrpo train task=reach``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch.distributed.elastic.multiprocessing.errors import record

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.distributed import Group

Train = Callable[[DictConfig], str]


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """The number of this process, 0 without torchrun."""
    return int(os.environ["RANK"]) if launched() else 0


def arguments_of_process(name: str, arguments: Sequence[str], together: bool) -> list[str]:
    """Arguments of the command line for this process: only the first one makes Hydra's folders.

    Exit if torchrun has started a multirun, or a recipe that cannot train ``together`` in several processes.
    """
    if not launched():
        return list(arguments)
    if not together:
        raise SystemExit(
            f"{name}: torchrun starts several processes, which only train can use; start {name} with python"
        )
    if {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(arguments):
        raise SystemExit(
            f"{name}: torchrun starts the processes of one run; start a torchrun for each job of a multirun"
        )
    if rank() == 0:
        return list(arguments)
    kept = [text for text in arguments if not text.startswith(("hydra.run.dir=", "hydra.output_subdir="))]
    return [*kept, "hydra.run.dir=.", "hydra.output_subdir=null"]


def recorded(train: Train) -> Train:
    """Let torchrun show the error of the first process that fails."""
    return cast(Train, record(train)) if launched() else train


@contextmanager
def process_group(device: str, timeout: float) -> Iterator[Group]:
    """Join the processes, with NCCL for CUDA and gloo otherwise; None if torchrun did not start this one.

    Args:
        device: of networks and updates. Each process on ``"cuda"`` gets the GPU with its number on its machine; raise a
            ValueError if there is none.
        timeout: processes wait this long for one another [s].
    """
    if not launched():
        yield None
        return
    cuda, local = torch.device(device).type == "cuda", int(os.environ["LOCAL_RANK"])
    if cuda:
        if local >= torch.cuda.device_count():
            expected = f"at most the number of GPUs of a machine, {torch.cuda.device_count()}"
            raise ValueError(refusal("torchrun", "--nproc-per-node", expected, os.environ["LOCAL_WORLD_SIZE"]))
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(seconds=timeout))
    yield dist.group.WORLD
    dist.destroy_process_group()  # not after an error: this would wait for processes that may have failed
