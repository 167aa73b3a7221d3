"""torchrun trains with several processes, stops all where one fails, and resumes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.processes import needs_gloo
from tests.recipes.runs import TINY, assert_same, environment, metrics
from torchrl_htrpo.recipes.torchrun import arguments_of_process, process_group
from torchrl_htrpo.records.checkpoints import checkpoints_of

BITS = ("task=bitflip", *TINY["htrpo_bitflip"])
STEPS = 64  # of an iteration, all processes together


def torchrun(*overrides: str, folder: Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Train in the folder; 2 processes of 8 environments each."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, "-W", "ignore", *launch, "-m", "torchrl_htrpo", "train", *BITS, *overrides],
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def stored(folder: Path) -> torch.Tensor:
    """The log-probabilities in the replay buffer of the last checkpoint: two batches of 16 trajectories."""
    (file,) = checkpoints_of(folder).latest().glob("components/*-replay/*.safetensors")
    return load_file(file)["items/action_log_prob"].reshape(2, -1)


def go_on(folder: Path, iterations: int, processes: int) -> None:
    """Resume to so many iterations with another number of processes; one stored batch stays, one is replaced."""
    settings = (f"total_steps={iterations * STEPS}", "replay_batches=2", "hydra.run.dir=more", f"resume={folder.name}")
    before, ended = stored(folder), torchrun(*settings, folder=folder.parent, processes=processes)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"{processes} processes continue a run of" in ended.stderr + ended.stdout
    assert len(metrics(folder)["critic/loss"]) == iterations
    same = (stored(folder) == before).all(-1).tolist()
    assert sorted(same) == [False, True]


def processes_that_name(text: str) -> list[str]:
    """Command lines of running processes with a text in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ")
        except OSError:  # it has ended
            continue
        found += [line] if text in line else []
    return found


@pytest.mark.slow
@needs_gloo
def test_two_processes_write_one_run_and_resume_bit_for_bit(tmp_path):
    replay = "replay_batches=2"
    whole = torchrun(f"total_steps={4 * STEPS}", replay, "hydra.run.dir=whole", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr[-3000:]
    assert whole.stdout.count("RESULT ") == 1
    assert f"env_steps={4 * STEPS} " in whole.stdout
    assert torchrun(f"total_steps={2 * STEPS}", replay, "hydra.run.dir=half", folder=tmp_path).returncode == 0
    again = torchrun(f"total_steps={4 * STEPS}", replay, "hydra.run.dir=more", "resume=half", folder=tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert_same(tmp_path / "whole", tmp_path / "half")
    assert len(metrics(tmp_path / "half")["critic/loss"]) == 4
    # Other numbers of processes go on with the stored batches, and with other random numbers.
    go_on(tmp_path / "half", 5, processes=1)
    go_on(tmp_path / "half", 6, processes=2)
    assert {path.name for path in tmp_path.iterdir()} <= {"whole", "half", "more"}  # no other process made a folder


@pytest.mark.slow
@needs_gloo
@pytest.mark.parametrize(
    ("fault", "told"), [("raises", "KeyError"), ("is killed", "Signal 9"), ("hangs", "waited after 'collect'")]
)
def test_a_process_that_fails_while_it_collects_stops_all_and_is_named(fault, told, tmp_path):
    ended = faulty("env._target_=tests.recipes.torchrun_faults.FaultyBitFlipEnv", f"+env.fault={fault}", tmp_path)
    assert told in ended.stderr
    assert "[Rank 1]" in ended.stderr or "rank      : 1" in ended.stderr or "Rank 1 failed" in ended.stderr


@pytest.mark.slow
@needs_gloo
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raises", "KeyError"),
        ("is killed", "Signal 9"),
        ("hangs", "processes [1] do not answer"),
        ("is stopped", "processes [1] do not answer"),
        ("diverges", "NaN or inf from processes [1]"),
    ],
)
def test_a_process_that_fails_in_an_update_stops_all_and_is_named(fault, told, tmp_path):
    target = "advantage._target_=tests.recipes.torchrun_faults.FaultyTD0"
    ended = faulty(target, f"+advantage.fault={fault}", tmp_path)
    assert told in ended.stderr
    if fault in ("raises", "is killed"):
        assert "rank      : 1" in ended.stderr


def faulty(target: str, fault: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a run with a fault says; it ends within two minutes of the fault, and leaves no process."""
    run_dir = f"hydra.run.dir={folder}/run"
    ended = torchrun(target, fault, "process_timeout=10", run_dir, "total_steps=6400", folder=folder)
    assert ended.returncode != 0
    assert time.time() - (folder / "fault").stat().st_mtime < 120
    assert processes_that_name(str(folder)) == []
    return ended


@pytest.mark.slow
@needs_gloo
def test_environments_that_do_not_divide_are_refused(tmp_path):
    ended = torchrun("num_envs=9", "total_steps=640", folder=tmp_path)
    assert ended.returncode != 0
    assert "num_envs must be a multiple of the 2 processes, got 9" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def launched(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("RANK", "1")


@pytest.mark.parametrize(
    ("arguments", "together", "told"),
    [
        (["task=reach"], False, "start her with python"),
        (["task=reach", "-m"], True, "a torchrun for each job"),
        (["hydra.mode=MULTIRUN"], True, "a torchrun for each job"),
    ],
)
def test_what_torchrun_cannot_start_is_refused(arguments, together, told, launched):
    with pytest.raises(SystemExit, match=told):
        arguments_of_process("her", arguments, together)


def test_only_the_first_process_makes_a_folder(launched, monkeypatch):
    given = ["task=reach", "hydra.run.dir=here"]
    assert arguments_of_process("htrpo", given, True) == ["task=reach", "hydra.run.dir=.", "hydra.output_subdir=null"]
    monkeypatch.setenv("RANK", "0")
    assert arguments_of_process("htrpo", given, True) == given


def test_without_torchrun_there_is_no_group():
    assert "TORCHELASTIC_RUN_ID" not in os.environ
    with process_group("cpu", 1.0) as group:
        assert group is None
    assert arguments_of_process("her", ["-m"], False) == ["-m"]
