"""Drawn and relabelled rows against what each of them must be, looked up in the episodes they came from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose

from tests.cases import bitwise_equal, lengths_of, trajectories, with_goals
from torchrl_htrpo.envs import EqualGoals, GoalTask, WithinDistance
from torchrl_htrpo.hindsight import (
    AllGoalSampler,
    FinalGoalSampler,
    FutureGoalSampler,
    HGFGoalSampler,
    HindsightReplay,
    UniformGoalSampler,
)

TASK = GoalTask(EqualGoals(), "her")
SAMPLERS = {
    "future": FutureGoalSampler,
    "final": FinalGoalSampler,
    "hgf": lambda: HGFGoalSampler(3),
    "uniform": lambda: UniformGoalSampler(3),
    "all": AllGoalSampler,
}


def numbered(*args, **kwargs):
    """Trajectories whose rows can be told apart: the observation holds the row and the step."""
    batch = trajectories(*args, **kwargs)
    steps = torch.arange(batch.shape[1], dtype=torch.float64)
    place = torch.stack(
        (torch.arange(len(batch)).double().unsqueeze(-1).expand(batch.shape), steps.expand(batch.shape))
    )
    batch["observation"] = place.movedim(0, -1).contiguous()
    ends = (
        torch.tensor(lengths_of(batch)).unsqueeze(-1) - 1 == steps
    )  # an end is a fall for some, a time limit for others
    falls = ends & (torch.rand(len(batch), 1) < 0.5)
    batch["next", "terminated"] = falls.unsqueeze(-1)
    return batch


def origins(rows):
    """The trajectory and the step each row came from."""
    return [(int(row), int(step)) for row, step in rows["observation"].tolist()]


@st.composite
def episodes(draw):
    num, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    ragged = draw(st.booleans())
    lengths = draw(st.lists(st.integers(0, steps), min_size=num, max_size=num).filter(any)) if ragged else None
    torch.manual_seed(draw(st.integers(0, 2**16)))
    return numbered(num, steps, lengths=lengths)


@given(episodes(), st.sampled_from(sorted(SAMPLERS)), st.booleans(), st.sampled_from(["her", "sparse", "dense"]))
def test_every_row_is_a_step_of_the_batch_with_its_goal_reward_and_end(batch, sampler, terminates, reward):
    task = GoalTask(EqualGoals(), reward)
    goals = SAMPLERS[sampler]()(batch)
    rows = HindsightReplay(task, 40, success_terminates=terminates)(goals)
    for row, (source, step) in zip(rows, origins(rows), strict=True):
        assert step < lengths_of(batch)[source]
        was, goal = batch[source, step], row["desired_goal"].tolist()
        exists = goals["hindsight", "goal_mask"][source, step]
        choices = goals["hindsight", "goal"][source, step][exists].tolist()
        assert goal == was["desired_goal"].tolist() or goal in choices
        assert row["next", "desired_goal"].tolist() == goal
        for key in (
            "action",
            "achieved_goal",
            ("next", "achieved_goal"),
            ("next", "observation"),
            ("next", "truncated"),
        ):
            assert key not in was.keys(True) or torch.equal(row[key], was[key])
        assert torch.equal(row["original_goal"], was["desired_goal"])

        achieved = was["next", "achieved_goal"].tolist()
        apart = sum((a - b) ** 2 for a, b in zip(achieved, goal, strict=True)) ** 0.5
        expected = {"her": float(achieved == goal) - 1, "sparse": float(achieved == goal), "dense": -apart}[reward]
        assert row["next", "reward"].item() == pytest.approx(expected)
        failed = bool(was["next", "terminated"]) and achieved != was["desired_goal"].tolist()
        assert row["next", "terminated"].item() == (failed or (terminates and achieved == goal))
        assert row["next", "done"].item() == (row["next", "terminated"] | was["next", "truncated"]).item()


def test_the_share_of_relabelled_rows_is_as_asked_for():
    batch = numbered(8, 10, values=50)
    for share in (0.0, 0.3, 0.8, 1.0):
        rows = HindsightReplay(TASK, 4000, share=share)(FutureGoalSampler()(batch))
        own = (rows["desired_goal"] == rows["original_goal"]).all(-1)
        same_by_chance = 0.01  # of 2500 goals on the lattice
        assert binomtest(int((~own).sum()), 4000, min(max(share, 1e-9), 1 - 1e-9)).pvalue > 1e-4 or (
            share == 1.0 and own.double().mean() < same_by_chance
        )


def test_steps_are_drawn_uniformly_among_the_valid_ones():
    batch = numbered(3, 4, lengths=[4, 1, 3])
    drawn = origins(HindsightReplay(TASK, 8000)(FutureGoalSampler()(batch)))
    counts = [drawn.count((row, step)) for row, length in enumerate([4, 1, 3]) for step in range(length)]
    assert sum(counts) == 8000 and chisquare(counts).pvalue > 1e-3


def test_each_of_several_goals_is_chosen_equally_often():
    batch = with_goals(numbered(4, 5), torch.tensor([[7.0, 7.0], [8.0, 8.0], [9.0, 9.0]], dtype=torch.float64))
    rows = HindsightReplay(TASK, 6000, share=1.0)(batch)
    counts = torch.bincount(rows["desired_goal"][:, 0].long())[7:]
    assert counts.sum() == 6000 and chisquare(counts).pvalue > 1e-3


def test_rows_keep_their_goal_where_there_is_no_other():
    batch = with_goals(numbered(4, 5), torch.full((1, 2), 9.0, dtype=torch.float64))
    batch["hindsight", "goal_mask"] = torch.zeros(4, 5, 1, dtype=torch.bool)
    rows = HindsightReplay(TASK, 50, share=1.0)(batch)
    assert torch.equal(rows["desired_goal"], rows["original_goal"])


def test_a_replay_buffer_of_episodes_gives_relabelled_rows_and_keeps_what_it_stores():
    relabel = Compose(FutureGoalSampler(), HindsightReplay(TASK, 64))
    buffer = ReplayBuffer(storage=LazyTensorStorage(6), transform=relabel, batch_size=5)
    for _ in range(4):  # more than it holds: the oldest episodes are written over, whole
        buffer.extend(numbered(3, 4))
        stored = buffer.storage[:].clone()
        assert buffer.sample().shape == (64,)
        assert bitwise_equal(buffer.storage[:], stored)
    assert len(buffer) == 6


def test_the_input_stays_as_it_is():
    batch = FutureGoalSampler()(numbered())
    before = batch.clone()
    HindsightReplay(TASK, 30)(batch)
    assert bitwise_equal(batch, before)


def test_a_reward_may_read_the_whole_row_and_keys_may_be_nested():
    def reward(rows):
        return rows["next", "info", "coins"] + (rows["task", "goal"] * 0).sum(-1, keepdim=True)

    batch = numbered()
    batch["next", "info", "coins"] = torch.rand(*batch.shape, 1, dtype=torch.float64)
    for key in ("desired_goal", "achieved_goal"):
        batch["task", key[:-5].replace("desired", "goal")] = batch[key]
    nested = batch.exclude("desired_goal", "achieved_goal", ("next", "desired_goal"), ("next", "achieved_goal"))
    nested["next", "task", "achieved_"] = batch["next", "achieved_goal"]
    nested["task", "goal"], nested["task", "achieved_"] = batch["desired_goal"], batch["achieved_goal"]
    keys = {"achieved_goal": ("task", "achieved_"), "desired_goal": ("task", "goal")}
    rows = HindsightReplay(GoalTask(EqualGoals(), reward, **keys), 20)(FutureGoalSampler(**keys)(nested))
    assert torch.equal(rows["next", "reward"], rows["next", "info", "coins"])
    assert torch.equal(rows["next", "task", "goal"], rows["task", "goal"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_keeps_the_precision_and_the_device(dtype, device):
    batch = trajectories(dtype=dtype).to(device)
    rows = HindsightReplay(GoalTask(WithinDistance(0.5), "her"), 10)(FinalGoalSampler()(batch))
    assert rows["next", "reward"].dtype == rows["desired_goal"].dtype == dtype
    assert rows["next", "reward"].device.type == device.type


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_rows": 0}, "HindsightReplay: num_rows must be a positive integer, got 0"),
        ({"num_rows": 4, "share": 1.5}, r"HindsightReplay: share must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        HindsightReplay(TASK, **kwargs)


def test_bad_batches_are_refused():
    replay, batch = HindsightReplay(TASK, 4), trajectories()
    with pytest.raises(KeyError, match=r"HindsightReplay: input must be .*'hindsight', 'goal'"):
        replay(batch)
    with pytest.raises(ValueError, match="of the goal size 2 of 'desired_goal', got 3"):
        replay(with_goals(batch, torch.zeros(1, 3)))
    with pytest.raises(ValueError, match="must be a batch with a valid step, got 'none'"):
        replay(FutureGoalSampler()(trajectories(2, 3, lengths=[0, 0])))
    seam = FutureGoalSampler()(batch)
    seam["next", "truncated"] = torch.ones_like(seam["next", "truncated"])
    with pytest.raises(ValueError, match="HindsightReplay: input must be of one trajectory a row"):
        replay(seam)
    bad = GoalTask(EqualGoals(), lambda rows: torch.full((*rows.shape, 1), float("nan")))
    with pytest.raises(ValueError, match="must be finite"):
        HindsightReplay(bad, 4)(FutureGoalSampler()(batch))
