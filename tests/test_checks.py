"""Checks of values depend on the device or on set_checks; results do not."""

from __future__ import annotations

import threading

import pytest
import torch

from tests.cases import actor_with, bitwise_equal, trajectories
from torchrl_htrpo.checks import may_wait, set_checks
from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import AllGoalSampler, HindsightRelabel, HindsightReplay

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_the_mode_ends_with_the_context_also_after_an_error():
    def fail() -> None:
        with set_checks("off"):
            assert not may_wait(CPU) and not may_wait(CUDA)
            with set_checks("sync"):
                assert may_wait(CPU) and may_wait(CUDA)
            assert not may_wait(CPU)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert may_wait(CPU) and not may_wait(CUDA)


def test_the_mode_is_local_to_a_thread():
    seen = []
    with set_checks("off"):
        thread = threading.Thread(target=lambda: seen.append(may_wait(CPU)))
        thread.start()
        thread.join()
    assert seen == [True]


def test_an_unknown_mode_is_refused():
    message = r"set_checks: mode must be one of the choices or None, got 'on' \(choices: 'sync', 'off'\)"
    with pytest.raises(ValueError, match=message), set_checks("on"):
        pass


def test_without_checks_the_same_goals_exist_in_the_same_order():
    batch = trajectories(4, 5, lengths=[5, 2, 4, 0])
    found = []
    for mode in ("sync", "off"):
        with set_checks(mode):
            goals = AllGoalSampler()(batch)["hindsight"][0, 0]
        found.append(goals["goal"][goals["goal_mask"]])
    assert torch.equal(*found) and len(found[0]) > 1


def test_without_checks_wrong_batches_pass_and_only_the_first_trajectory_of_a_row_counts():
    batch = trajectories(3, 6).clone()
    batch["next", "truncated"][:, 2] = batch["next", "done"][:, 2] = True
    relabel = HindsightRelabel(GoalTask(EqualGoals()))
    with set_checks("off"):
        live = relabel(AllGoalSampler()(batch))["collector", "mask"]
    assert live.any() and not live[..., 3:].any()
    with pytest.raises(ValueError, match="steps after the end of a trajectory"):
        relabel(AllGoalSampler()(batch))


def test_without_checks_replayed_rows_are_the_same():
    batch = AllGoalSampler()(trajectories(4, 5, actor=actor_with("categorical")))
    rows = []
    for mode in ("sync", "off"):
        with set_checks(mode):
            replay = HindsightReplay(GoalTask(EqualGoals()), 7, generator=torch.Generator().manual_seed(0))
            rows.append(replay(batch))
    assert bitwise_equal(*rows)
