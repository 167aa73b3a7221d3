"""Goal samplers read two keys, write two, and choose only achieved goals."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from tests.cases import bitwise_equal, trajectories
from torchrl_htrpo.envs import EqualGoals, GoalTask, WithinDistance
from torchrl_htrpo.hindsight import (
    AllGoalSampler,
    GoalSampler,
    HGFGoalSampler,
    HindsightRelabel,
    OriginalGoalSampler,
    UniformGoalSampler,
)

SAMPLERS = {
    "all": AllGoalSampler,
    "uniform": lambda **k: UniformGoalSampler(6, **k),
    "hgf": lambda **k: HGFGoalSampler(6, **k),
}


def rows(goals):
    return {tuple(goal) for goal in goals.reshape(-1, goals.shape[-1]).tolist()}


def chosen(batch):
    """The goals that exist according to a sampler (shared by all steps)."""
    goal = batch["hindsight", "goal"]
    index = (0,) * (goal.dim() - 2)
    return goal[index][batch["hindsight", "goal_mask"][index]]


@pytest.mark.parametrize("name", SAMPLERS)
def test_goals_were_achieved_on_valid_steps_and_are_distinct(name):
    batch = trajectories(lengths=[1, 3, 2, 5])
    goals = chosen(SAMPLERS[name]()(batch))
    assert rows(goals) <= rows(batch["next", "achieved_goal"][batch["collector", "mask"]])
    assert 0 < len(goals) == len(rows(goals))


@pytest.mark.parametrize("name", SAMPLERS)
def test_nothing_is_written_but_the_goals(name):
    batch = trajectories()
    before = batch.clone()
    out = SAMPLERS[name]()(batch)
    assert bitwise_equal(batch, before) and bitwise_equal(out.exclude("hindsight"), before)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("lead", [(), (4,), (2, 2), (2, 1, 2)])
def test_any_leading_shape_gives_the_same_goals(name, lead):
    batch = trajectories(4)[:1] if lead == () else trajectories(4)
    shaped = batch.reshape(*lead, 5)
    torch.manual_seed(1)
    flat = SAMPLERS[name]()(batch)
    torch.manual_seed(1)
    out = SAMPLERS[name]()(shaped)
    assert out.shape == (*lead, 5) and torch.equal(chosen(out), chosen(flat))


@pytest.mark.parametrize("name", SAMPLERS)
def test_goals_are_views_without_memory_of_their_own(name):
    goal = SAMPLERS[name]()(trajectories())["hindsight", "goal"]
    assert goal.stride()[:2] == (0, 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_nested_keys_are_read(name):
    batch = trajectories()
    nested = TensorDict(
        agents=TensorDict(desired_goal=batch["desired_goal"], batch_size=batch.shape),
        next=TensorDict(
            agents=TensorDict(achieved_goal=batch["next", "achieved_goal"], batch_size=batch.shape),
            batch_size=batch.shape,
        ),
        batch_size=batch.shape,
    )
    sampler = SAMPLERS[name](achieved_goal=("agents", "achieved_goal"), desired_goal=("agents", "desired_goal"))
    torch.manual_seed(1)
    out = sampler(nested)
    torch.manual_seed(1)
    assert torch.equal(chosen(out), chosen(SAMPLERS[name]()(batch)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_goals_that_held_at_the_start_of_their_trajectory_can_be_left_out(name):
    batch = trajectories(values=2)
    goals = rows(chosen(SAMPLERS[name](skip_held=EqualGoals())(batch)))
    moved = {
        tuple(goal)
        for start, path in zip(
            batch["achieved_goal"][:, 0].tolist(), batch["next", "achieved_goal"].tolist(), strict=True
        )
        for goal in path
        if goal != start
    }
    assert goals <= moved
    assert not rows(chosen(SAMPLERS[name](skip_held=WithinDistance(100.0))(batch)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_identical_achieved_goals_are_one_goal(name):
    batch = trajectories()
    batch["next", "achieved_goal"].fill_(2.0)
    assert chosen(SAMPLERS[name]()(batch)).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_without_valid_steps_has_goals_that_do_not_exist(name):
    out = SAMPLERS[name]()(trajectories(lengths=[0, 0, 0, 0]))
    assert out["hindsight", "goal"].shape[-2] >= 1 and not out["hindsight", "goal_mask"].any()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("key", ["desired_goal", ("next", "achieved_goal")])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_goals_that_are_not_finite_are_refused_but_not_in_padding(name, key, bad):
    batch = trajectories(lengths=[2, 5, 5, 5])
    batch[key][0, 4, 0] = bad
    assert chosen(SAMPLERS[name]()(batch)).isfinite().all()
    batch[key][1, 2, 0] = bad
    with pytest.raises(
        ValueError, match=rf"GoalSampler: .*{key[-1] if isinstance(key, tuple) else key}.* finite .*got (nan|inf)"
    ):
        SAMPLERS[name]()(batch)


def test_goals_of_different_sizes_are_refused():
    batch = trajectories()
    batch["next", "achieved_goal"] = torch.zeros(4, 5, 3)
    with pytest.raises(ValueError, match=r"AllGoalSampler: .*achieved_goal.* of shape \[4, 5, 2\], got \[4, 5, 3\]"):
        AllGoalSampler()(batch)


def test_uniform_goals_are_uniform_without_replacement():
    batch = trajectories(1, 4)
    batch["next", "achieved_goal"] = torch.tensor([[[0.0, 0], [0, 0], [1, 0], [2, 0]]], dtype=torch.float64)
    counts = torch.zeros(3)
    for _ in range(600):
        goals = chosen(UniformGoalSampler(2)(batch))
        assert len(goals) == len(rows(goals)) == 2
        counts[goals[:, 0].long()] += 1
    assert (counts - 400).abs().max() < 58  # five standard deviations


def test_a_seeded_generator_repeats_the_draw():
    batch = trajectories()
    draws = [UniformGoalSampler(3, generator=torch.Generator().manual_seed(5))(batch) for _ in range(2)]
    assert bitwise_equal(*draws)


def test_fewer_achieved_goals_than_asked_for_are_all_taken():
    batch = trajectories(values=2)
    everything = rows(batch["next", "achieved_goal"])
    assert rows(chosen(UniformGoalSampler(15)(batch))) == everything == rows(chosen(AllGoalSampler()(batch)))


def test_the_base_class_leaves_the_choice_to_its_children():
    with pytest.raises(NotImplementedError):
        GoalSampler()(trajectories())


def test_each_trajectory_keeps_its_own_goal():
    batch = trajectories(lengths=[5, 2, 0, 4])
    goal = OriginalGoalSampler()(batch)["hindsight", "goal"]
    assert goal.shape == (4, 5, 1, 2)
    for i, t in [(0, 0), (0, 4), (1, 1), (3, 2)]:
        assert goal[i, t].tolist() == [batch["desired_goal"][i, 0].tolist()]


def test_relabelled_with_its_own_goal_a_batch_is_as_it_was_collected_up_to_the_first_success():
    batch = trajectories(64, 5, values=2)
    out = HindsightRelabel(GoalTask(EqualGoals()))(OriginalGoalSampler()(batch))
    assert out.shape == (1, 64, 5) and torch.equal(out["desired_goal"][0], batch["desired_goal"])
    solved = 0
    for i in range(64):
        goal, path = batch["desired_goal"][i, 0].tolist(), batch["next", "achieved_goal"][i].tolist()
        if batch["achieved_goal"][i, 0].tolist() == goal:
            assert not out["collector", "mask"][0, i].any()
            continue
        length = path.index(goal) + 1 if goal in path else 5
        solved += goal in path
        assert out["collector", "mask"][0, i].tolist() == [t < length for t in range(5)]
        assert out["next", "reward"][0, i, length - 1].item() == float(goal in path)
    assert solved > 0


def test_beside_hindsight_goals_the_own_goal_comes_last():
    batch = trajectories(lengths=[5, 2, 3, 4])
    generator = [torch.Generator().manual_seed(5) for _ in range(2)]
    alone = UniformGoalSampler(3, generator=generator[0], skip_held=EqualGoals())(batch)
    both = OriginalGoalSampler(
        lambda **kwargs: UniformGoalSampler(3, generator=generator[1], **kwargs), skip_held=EqualGoals()
    )(batch)
    for key in ("goal", "goal_mask"):
        assert torch.equal(both["hindsight", key][:, :, :3], alone["hindsight", key])
    assert torch.equal(both["hindsight", "goal"][:, :, 3], batch["desired_goal"])
    assert both["hindsight", "goal_mask"][:, :, 3].all()


def test_an_original_goal_that_is_not_finite_is_refused_but_not_in_padding():
    batch = trajectories(lengths=[2, 5, 5, 5])
    batch["desired_goal"][0, 4, 0] = torch.nan
    assert OriginalGoalSampler()(batch)["hindsight", "goal"].isfinite().all()
    batch["desired_goal"][1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match=r"OriginalGoalSampler: .*desired_goal.* finite .*got nan"):
        OriginalGoalSampler()(batch)
