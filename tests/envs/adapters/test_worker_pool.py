"""Workers that crash, hang, raise or are killed: a named error in time, and nobody left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

pytest.importorskip("gymnasium")

from tests.envs.failing import Walk
from torchrl_htrpo.envs import EnvBatch, EnvFailure

ROOT = Path(__file__).parents[2]


def with_third(*args, num_workers=2, timeout=1.0, start_method="fork", **settings) -> EnvBatch:
    """Four environments, of which the third fails."""
    makers = [Walk, Walk, partial(Walk, *args, **settings), Walk]
    return EnvBatch(makers, num_workers=num_workers, timeout=timeout, start_method=start_method, seed=0)


def walk(env: EnvBatch) -> None:
    def act(tensordict):
        return tensordict.set("action", torch.zeros(*env.batch_size, 2))

    env.rollout(12, act, break_when_any_done=False)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


HOW = {
    "exits": r"ended its process \(exit code 7\)",
    "is killed": r"ended its process \(exit code -9\)",
    "crashes": r"ended its process \(exit code -11\)",
    "leaves": r"ended its process \(exit code 3\)",
    "raises": "raised KeyError: 'boom'",
    "hangs": "took too long",
    "is stopped": "did not answer in time",
}


@pytest.mark.parametrize("fault", HOW)
def test_a_failing_worker_is_named_with_its_environment_and_step_and_no_process_is_left(fault):
    env = with_third(fault, episode=2)
    pids = [process.pid for process in env.pool.processes]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    where = f"environment 2 {HOW[fault]}"
    with pytest.raises(EnvFailure, match=rf"{where}.* in step 3 of episode 2|{where} in step 3 of episode 2"):
        walk(env)
    assert not any(alive(pid) for pid in pids) and not multiprocessing.active_children()
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["exits", "raises", "hangs"])
def test_a_failing_worker_of_a_fresh_process_is_named_too(fault):
    with pytest.raises(EnvFailure, match=rf"environment 2 {HOW[fault]}"):
        walk(with_third(fault, episode=2, start_method="spawn", timeout=30.0 if fault != "hangs" else 5.0))
    assert not multiprocessing.active_children()


def test_a_hang_says_where_it_hung():
    with pytest.raises(EnvFailure, match=r"was stopped at\n.*failing\.py\", line \d+ in <lambda>"):
        walk(with_third("hangs"))


@pytest.mark.parametrize("fault", ["exits", "hangs", "raises"])
@pytest.mark.parametrize(
    ("settings", "where"),
    [({"step": 0}, "the reset before episode 1"), ({"construction": True}, "its construction")],
)
def test_a_fault_before_the_first_step_is_named_too(fault, settings, where):
    with pytest.raises(EnvFailure, match=rf"environment 2 .* in {where}"):
        walk(with_third(fault, **settings))
    assert not multiprocessing.active_children()


def test_a_worker_killed_from_outside_between_two_steps_is_named_with_its_environments():
    env = with_third()
    env.reset()
    os.kill(env.pool.processes[1].pid, signal.SIGKILL)
    with pytest.raises(EnvFailure, match=r"worker 1 \(environments 2 to 3\) ended its process \(exit code -9\)"):
        walk(env)
    assert not multiprocessing.active_children()


def test_an_error_of_the_caller_is_not_blamed_on_a_worker_and_harms_none():
    env = EnvBatch([Walk] * 4, num_workers=2, start_method="fork", seed=0)
    with pytest.raises(RuntimeError) as raised:
        env.pool.call("reset", TensorDict(batch_size=[7]))
    assert not isinstance(raised.value, EnvFailure)
    walk(env)
    env.close()


def test_closing_leaves_no_process_and_the_learner_its_threads():
    threads = torch.get_num_threads()
    env = with_third()
    pids = [process.pid for process in env.pool.processes]
    assert torch.get_num_threads() == threads
    env.close()
    assert torch.get_num_threads() == threads and not any(alive(pid) for pid in pids)


PARENT = """
from functools import partial
from tests.envs.failing import Walk
from torchrl_htrpo.envs import EnvBatch
import torch, sys

env = EnvBatch([Walk, partial(Walk, "hangs")], num_workers=2, timeout={timeout}, start_method="fork", seed=0)
print(*(process.pid for process in env.pool.processes), flush=True)
act = lambda tensordict: tensordict.set("action", torch.zeros(2, 2))
env.rollout(4, act)
"""


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed_even_while_one_hangs():
    code = PARENT.format(timeout=600.0)
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], env=surroundings, stdout=subprocess.PIPE, text=True
    ) as parent:
        pids = [int(pid) for pid in re.findall(r"\d+", parent.stdout.readline())]
        assert len(pids) == 2
        time.sleep(0.5)  # the second hangs by now
        assert all(alive(pid) for pid in pids)
        parent.kill()
    assert gone(pids)
