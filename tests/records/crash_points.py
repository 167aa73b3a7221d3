"""Crash a small run at a chosen operation on its files, resume it, and compare it with an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from torchrl_htrpo.records import Run, read_table
from torchrl_htrpo.records.checkpoints import intact_checkpoint, stored_checkpoints

ITERATIONS = 10
CRASH = 137  # exit code
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


def train(folder: Path) -> None:
    """Random steps of a network, with a checkpoint and a table after each; starts or resumes."""
    random.seed(0)
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    components = {"actor": net, "optimizer": optimizer}
    with Run(folder, 10 * ITERATIONS, name="crash", components=components, headline="none") as run:
        steps = run.restore() if stored_checkpoints(folder) else run.begin()
        for step in range(steps + 10, 10 * ITERATIONS + 1, 10):
            optimizer.zero_grad()
            net(torch.rand(4, 3)).sum().backward()
            optimizer.step()
            run.log(step, {"eval/success": float(torch.rand(())), "critic/loss": step / 8})
            run.save()
            run.draw()


def count_operations(folder: Path) -> int:
    """How many operations change files in an unbroken run, which is left in the folder."""
    file = folder.with_suffix(".count")

    def counted() -> None:
        count = _before_each_operation(folder, lambda count: None)
        train(folder)
        file.write_text(str(count[0]))

    assert _in_child(counted) == 0
    return int(file.read_text())


def crash_and_go_on(folder: Path, operation: int) -> bool:
    """Train into a new folder, die just before an operation, then train to the end; returns whether it died."""

    def crashing() -> None:
        _before_each_operation(folder, lambda count: os._exit(CRASH) if count == operation else None)
        train(folder)

    code = _in_child(crashing)
    assert code in (0, CRASH), f"operation {operation}: exit code {code}"
    assert _in_child(lambda: train(folder)) == 0, f"operation {operation}: did not go on"
    return code == CRASH


def end_of(folder: Path) -> tuple[dict[str, bytes], object]:
    """Every byte of the last checkpoint but its time, and the table."""
    latest = intact_checkpoint(folder)
    found = {str(file.relative_to(latest)): file.read_bytes() for file in (latest / "components").rglob("*.*")}
    (progress,) = [name for name in found if "progress" in name]
    found[progress] = json.dumps(json.loads(found[progress]) | {"seconds": 0}).encode()
    return found | {"name": latest.name.encode()}, read_table(folder / "metrics.csv")


def leftovers(folder: Path) -> list[str]:
    """Files that no later start removes."""
    return [path.name for path in (folder / "checkpoints").iterdir() if not path.name.startswith("checkpoint-")]


def _before_each_operation(folder: Path, act: Callable[[int], None]) -> list[int]:
    count = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in EVENTS:
            return
        below = event in ("os.remove", "os.rmdir") and arguments[1] != -1  # relative to a folder that is removed
        if not below and not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not (isinstance(arguments[1], str) and set("wa+x") & set(arguments[1])):
            return
        act(count[0])
        count[0] += 1

    sys.addaudithook(hook)
    return count


def _in_child(work: Callable[[], None]) -> int:
    """Run in a forked process, so that a crash costs no import; returns its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
