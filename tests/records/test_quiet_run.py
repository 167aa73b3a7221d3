"""The processes that write no records."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from torchrl_htrpo.records import Run
from torchrl_htrpo.records.quiet_run import QuietRun


def test_it_counts_and_writes_nothing(tmp_path: Path):
    follower = QuietRun(tmp_path / "run", 100, components={}, processes=2, name="test", backend="csv")
    with follower:
        assert follower.begin() == 0
        follower.log(50, {"eval/success": 0.5, "eval/episodes": 8.0})
        follower.show(success=0.5)
        assert follower.unsaved
        follower.save()
        follower.draw()
    assert (follower.iterations, follower.success, follower.unsaved) == (1, 0.5, False)
    assert follower.result() == ""
    assert list(tmp_path.iterdir()) == []


def test_it_resumes_from_what_the_first_process_saved(tmp_path: Path):
    net, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    with Run(tmp_path, 100, name="test", components={"net": net}, config={"a": 1}, processes=2) as run:
        run.begin()
        run.log(50, {"eval/success": 0.5})
        run.save()
    follower = QuietRun(tmp_path, 100, components={"net": other}, config={"a": 1}, processes=2)
    assert follower.restore() == 50
    assert follower.progress["success"] == 0.5
    assert follower.same_processes
    assert torch.equal(other.weight, net.weight)
    with pytest.raises(ValueError, match="a: 1 there, 2 here"):
        QuietRun(tmp_path, 100, components={"net": other}, config={"a": 2}, processes=2).restore()


def test_another_number_of_processes_loads_networks_but_no_random_states(tmp_path: Path):
    net, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    with Run(tmp_path, 100, name="test", components={"net": net}, processes=2) as run:
        run.begin()
        run.log(50, {})
        run.save()
    follower = QuietRun(tmp_path, 100, components={"net": other}, processes=3)
    before = torch.get_rng_state()
    follower.restore()
    assert not follower.same_processes
    assert torch.equal(other.weight, net.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_ends_after_a_signal(tmp_path: Path):
    follower = QuietRun(tmp_path, 100, components={})
    with pytest.raises(SystemExit) as ended, follower:
        signal.raise_signal(signal.SIGTERM)
    assert follower.stop
    assert ended.value.code == 143
