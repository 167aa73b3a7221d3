"""Recipes as processes: signals, and two of them in one folder."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.recipes.runs import TINY, assert_same, budget, command, environment, run
from torchrl_htrpo.records.checkpoints import stored_checkpoints

HER = ("env.num_bits=4", "num_envs=4", "hidden_sizes=[8]", "replay_episodes=8", "target_success=null", "eval_every=99")
BITS = (*TINY["htrpo_bitflip"], budget("htrpo_bitflip", 30))

pytestmark = pytest.mark.slow


def start(name: str, *overrides: str, folder: Path) -> subprocess.Popen[str]:
    """Start a recipe in a process of its own."""
    return subprocess.Popen(
        command(name, *overrides),
        env=environment(),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(what, process: subprocess.Popen[str], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()[0][-2000:]
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_run_which_resumes_to_the_uninterrupted_result(number, code, tmp_path):
    assert run("htrpo_bitflip", *BITS, "hydra.run.dir=whole", folder=tmp_path).returncode == 0
    folder = tmp_path / "run"
    with start("htrpo_bitflip", *BITS, f"hydra.run.dir={folder}", folder=tmp_path) as process:
        wait_for(lambda: stored_checkpoints(folder), process)
        process.send_signal(number)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == code, said[-2000:]
    assert f"with resume={folder}" in said and "Traceback" not in said
    ended = run("htrpo_bitflip", *BITS, f"resume={folder}", "hydra.run.dir=more", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert_same(tmp_path / "whole", folder)


def test_her_saves_at_a_signal_between_regular_saves(tmp_path):
    folder = tmp_path / "run"
    scalars = folder / "logs" / "scalars" / "critic" / "loss.csv"
    settings = (*HER, "save_every=1000000", "total_steps=1000000", f"hydra.run.dir={folder}")
    with start("her_bitflip", *settings, folder=tmp_path) as process:
        wait_for(scalars.exists, process)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 143, said[-2000:]
    (saved,) = stored_checkpoints(folder)
    last = int(scalars.read_text().splitlines()[-1].partition(",")[0])
    assert int(saved.name.partition("-")[2]) == last


def test_a_second_process_in_the_folder_is_refused_and_the_first_loses_nothing(tmp_path):
    folder = tmp_path / "run"
    assert run("htrpo_bitflip", *BITS, "hydra.run.dir=whole", folder=tmp_path).returncode == 0
    with start("htrpo_bitflip", *BITS, f"hydra.run.dir={folder}", folder=tmp_path) as first:
        wait_for(lambda: stored_checkpoints(folder), first)
        first.send_signal(signal.SIGSTOP)  # so that it is there for sure
        try:
            others = [
                run("htrpo_bitflip", *BITS, f"resume={folder}", "hydra.run.dir=other", folder=tmp_path),
                run("htrpo_bitflip", *BITS, "seed=1", f"hydra.run.dir={folder}", folder=tmp_path),
            ]
        finally:
            first.send_signal(signal.SIGCONT)
        said = first.communicate(timeout=120)[0]
    assert first.returncode == 0, said[-2000:]
    for other in others:
        assert other.returncode == 1 and f"process {first.pid} on" in other.stderr, other.stderr[-2000:]
    assert not (tmp_path / "other").exists()
    assert_same(tmp_path / "whole", folder)


def test_removing_the_logs_of_a_running_run_ends_in_an_error(tmp_path):
    folder = tmp_path / "run"
    with start("htrpo_bitflip", *BITS, f"hydra.run.dir={folder}", folder=tmp_path) as process:
        wait_for(lambda: stored_checkpoints(folder), process)
        (folder / "logs").rename(tmp_path / "gone")
        said = process.communicate(timeout=60)[0]
    told = re.search("removed while the run was using it|files were removed or replaced", said)
    assert process.returncode == 1 and told, said[-2000:]


def test_a_typo_in_resume_creates_nothing(tmp_path):
    refused = run("htrpo_bitflip", *BITS, "resume=typo", folder=tmp_path)
    assert refused.returncode == 1 and "at least one complete iteration" in refused.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()] and not (tmp_path / "typo").exists()
