"""Workers end in time, also while an environment's close hangs, and take the programs that they started with them."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from torchrl import torchrl_logger

pytest.importorskip("gymnasium")

from tests.envs.adapters.test_worker_pool import HOW, ROOT, gone, walk
from tests.envs.failing import Walk
from torchrl_htrpo.envs import EnvBatch, EnvFailure
from torchrl_htrpo.envs.adapters import worker_pool


class HangingClose(Walk):
    def close(self):
        time.sleep(1000)


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(torchrl_logger, "warning", said.append)
    return said


@pytest.mark.parametrize("fault", ["hangs", "is stopped", "exits", "raises"])
def test_a_close_that_fails_in_a_worker_ends_in_time_and_is_told(fault, warnings):
    makers = [Walk, partial(Walk, fault, closing=True)]
    env = EnvBatch(makers, num_workers=2, timeout=1.0, start_method="fork", seed=0)
    env.reset()
    env.close()
    assert not multiprocessing.active_children()
    assert len(warnings) == 1 and re.search(rf"environment 1 {HOW[fault]}.* in its close", warnings[0])


def test_a_close_in_this_process_that_raises_is_named():
    env = EnvBatch([Walk, partial(Walk, "raises", closing=True)], seed=0)
    env.reset()
    with pytest.raises(EnvFailure, match="environment 1 raised KeyError.* in its close"):
        env.close()


@pytest.mark.parametrize("fault", ["raises", "exits", "hangs", "is stopped"])
def test_a_failed_construction_does_not_wait_for_the_close_of_the_others(fault, monkeypatch):
    monkeypatch.setattr(worker_pool, "_START", 0.0)
    makers = [HangingClose, partial(Walk, fault, construction=True)]
    with pytest.raises(EnvFailure, match=r"(?s)environment 1 .*in its construction"):
        EnvBatch(makers, num_workers=2, timeout=1.0, start_method="fork", seed=0)
    assert not multiprocessing.active_children()


def test_a_worker_that_is_stopped_in_a_construction_is_named(monkeypatch):
    monkeypatch.setattr(worker_pool, "_START", 0.0)
    makers = [Walk, partial(Walk, "is stopped", construction=True)]
    with pytest.raises(EnvFailure, match="environment 1 did not answer in time in its construction"):
        EnvBatch(makers, num_workers=2, timeout=1.0, start_method="fork", seed=0)
    assert not multiprocessing.active_children()


def simulators(folder) -> list[int]:
    return [int(file.name) for file in folder.iterdir()]


@pytest.mark.parametrize("fault", HOW)
def test_the_programs_of_environments_end_with_their_failed_worker_and_with_its_siblings(fault, tmp_path, warnings):
    makers = [partial(Walk, simulator=tmp_path), partial(Walk, fault, simulator=tmp_path)]
    env = EnvBatch(makers, num_workers=2, timeout=1.0, start_method="fork", seed=0)
    assert len(simulators(tmp_path)) >= 2
    with pytest.raises(EnvFailure):
        walk(env)
    assert gone(simulators(tmp_path))
    env.close()
    assert not warnings  # the error has told it


@pytest.mark.parametrize("fault", ["raises", "exits"])
def test_the_programs_of_environments_end_where_another_cannot_be_made(fault, tmp_path):
    makers = [partial(Walk, simulator=tmp_path), partial(Walk, fault, construction=True)]
    with pytest.raises(EnvFailure):
        EnvBatch(makers, num_workers=2, timeout=1.0, start_method="fork", seed=0)
    assert gone(simulators(tmp_path))


def test_the_programs_and_the_folder_of_environments_end_with_an_ordinary_close(tmp_path, warnings):
    env = EnvBatch([partial(Walk, simulator=tmp_path)] * 2, num_workers=2, start_method="fork", seed=0)
    assert simulators(tmp_path) and env.pool.folder.is_dir()
    env.close()
    assert gone(simulators(tmp_path)) and not env.pool.folder.exists() and not warnings


@pytest.mark.parametrize("settings", [{"construction": True}, {}])
def test_the_folder_of_environments_ends_with_a_failure(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(EnvFailure):
        walk(EnvBatch([Walk, partial(Walk, "exits", **settings)], num_workers=2, start_method="fork", seed=0))
    assert not list(tmp_path.iterdir())


def test_environments_of_this_process_have_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(EnvBatch([Walk] * 2, seed=0)) as env:
        walk(env)
        assert not list(tmp_path.iterdir())


PARENT = """
import sys
import time
from functools import partial
from pathlib import Path
from tests.envs.failing import Walk
from torchrl_htrpo.envs import EnvBatch

env = EnvBatch([partial(Walk, simulator=Path(sys.argv[1]))] * 2, num_workers=2, start_method="fork", seed=0)
print(env.pool.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_the_programs_and_the_folder_of_environments_end_with_a_killed_learner(tmp_path):
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PARENT, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=surroundings, text=True, **pipes) as learner:
        folder = Path(learner.stdout.readline().strip())
        started = simulators(tmp_path)
        assert started and not gone(started, seconds=0.0) and folder.is_dir()
        learner.kill()
    assert gone(started) and not folder.exists()


def test_a_ctrl_c_in_the_terminal_reaches_the_learner_only():
    env = EnvBatch([Walk] * 2, num_workers=2, start_method="fork", seed=0)
    assert all(os.getsid(process.pid) != os.getsid(0) for process in env.pool.processes)
    env.close()
