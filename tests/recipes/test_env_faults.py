"""A recipe whose environments fail stops with a named error, leaves no process, and resumes to the same result."""

from __future__ import annotations

import multiprocessing
import re
import time
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")

from tests.recipes.runs import TINY, assert_same, budget, metrics, run
from torchrl_htrpo.envs import EnvFailure


def walking(fault: object = "null", *more: str, **settings: object) -> list[str]:
    """The Fetch recipe on four walks, each of which has a fault."""
    told = "".join(f", {key}: {value}" for key, value in settings.items())
    walk = f"env.name={{_target_: tests.envs.failing.Walk, _partial_: true, fault: {fault}{told}}}"
    return [walk, "env.horizon=null", "name=walk", "+env.start_method=fork", *more]


def processes(mark: str) -> list[str]:
    """Running processes with a mark in their environment variables."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            carries = mark.encode() in (folder / "environ").read_bytes()
            if carries and (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_a_resumed_run_on_gymnasium_equals_an_uninterrupted_one_with_and_without_workers(trained, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    trained("htrpo_fetch", *walking(), budget("htrpo_fetch", 4), directory=whole)
    trained("htrpo_fetch", *walking(), "env.num_workers=2", budget("htrpo_fetch", 2), directory=half)
    trained("htrpo_fetch", *walking(), budget("htrpo_fetch", 4), f"resume={half}", directory=tmp_path)
    assert len(metrics(whole)["critic/loss"]) == 4
    assert_same(whole, half)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("key", ["observation", "achieved_goal", "desired_goal", "reward"])
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_nan_stops_the_run_which_then_resumes(key, number, trained, tmp_path):
    folder, settings = tmp_path / "run", walking(number, key=key, episode=5, once=tmp_path / "seen")
    said = rf"environment 0 gave {number} in \('next', '{key}'\) in step 3"
    with pytest.raises(EnvFailure, match=said):
        trained("htrpo_fetch", *settings, budget("htrpo_fetch", 4), directory=folder)
    assert 1 <= len(metrics_so_far(folder)) < 4
    trained("htrpo_fetch", *settings, budget("htrpo_fetch", 4), f"resume={folder}", directory=tmp_path)
    assert len(metrics(folder)["critic/loss"]) == 4


def metrics_so_far(folder: Path) -> list[str]:
    """Rows of a run that did not end."""
    return (folder / "logs" / "scalars" / "critic" / "loss.csv").read_text().splitlines()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("exits", r"environment \d ended its process \(exit code 7\) in step 3 of episode 5"),
        ("hangs", r"environment \d took too long in step 3 of episode 5 and was stopped at"),
    ],
)
def test_a_run_whose_worker_dies_resumes_to_the_uninterrupted_result(fault, said, trained, tmp_path):
    fixed = walking(f"'{fault}'", "env.num_workers=2", "env.timeout=2", episode=5, once=tmp_path / "seen")
    settings = (*fixed, budget("htrpo_fetch", 4))
    with pytest.raises(EnvFailure, match=said):
        trained("htrpo_fetch", *settings, directory=tmp_path / "run")
    assert not multiprocessing.active_children()
    trained("htrpo_fetch", *settings, f"resume={tmp_path / 'run'}", directory=tmp_path)
    trained("htrpo_fetch", *settings, "env.num_workers=0", directory=tmp_path / "whole")  # the fault has been seen
    assert_same(tmp_path / "whole", tmp_path / "run")
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_hang_ends_the_run_in_time_and_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setenv("MARK", str(tmp_path))
    fixed = walking("hangs", "env.num_workers=2", "env.timeout=2", episode=4, step=1)
    since = time.monotonic()
    done = run("htrpo_fetch", *TINY["htrpo_fetch"], *fixed, budget("htrpo_fetch", 4), folder=tmp_path)
    assert done.returncode == 1 and time.monotonic() - since < 150
    assert re.search(r"EnvFailure: environment \d took too long in step 1 of episode 4", done.stderr), done.stderr[
        -3000:
    ]
    assert not processes(f"MARK={tmp_path}")
