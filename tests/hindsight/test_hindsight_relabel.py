"""Relabelling against a loop over goals, trajectories and steps, on random trajectories of every kind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from tests import oracles
from tests.cases import bitwise_equal, lengths_of, trajectories, with_goals
from torchrl_htrpo.envs import EqualGoals, GoalTask, WithinDistance
from torchrl_htrpo.hindsight import AllGoalSampler, HindsightRelabel

KEYS = {"reward": ("next", "reward"), "terminated": ("next", "terminated"), "truncated": ("next", "truncated")}


def agrees(out, expected):
    """Whether a relabelled batch is what the oracle says, on live steps; and dead ones hold nothing."""
    mask = out["collector", "mask"]
    assert torch.equal(mask, expected["mask"])
    for name, key in KEYS.items():
        assert torch.allclose(out[key].squeeze(-1).double(), expected[name].double(), atol=1e-12), name
    assert torch.equal(out["next", "done"], out["next", "terminated"] | out["next", "truncated"])
    assert torch.equal(out["next", "done"].sum((-1, -2)), mask.any(-1).long()), "every live pair ends exactly once"
    return True


def oracle(batch, goals, **kwargs):
    return oracles.relabel(
        batch["achieved_goal"][:, 0], batch["next", "achieved_goal"], goals, lengths=lengths_of(batch), **kwargs
    )


@st.composite
def batches(draw):
    num, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    ragged = draw(st.booleans())
    lengths = draw(st.lists(st.integers(0, steps), min_size=num, max_size=num)) if ragged else None
    torch.manual_seed(draw(st.integers(0, 10_000)))
    batch = trajectories(num, steps, lengths=lengths, values=draw(st.integers(1, 3)))
    for i, length in enumerate(lengths_of(batch)):
        end = draw(st.sampled_from(["time_limit", "failure", "broken_off"]))
        if length and end != "time_limit":
            batch["next", "truncated"][i, length - 1] = False
            batch["next", "terminated"][i, length - 1] = end == "failure"
    batch["next", "done"] = batch["next", "terminated"] | batch["next", "truncated"]
    return batch


@given(batches(), st.sampled_from(["sparse", "paper_code", "her", "dense"]), st.integers(1, 4))
def test_random_trajectories_agree_with_brute_force_and_stay_as_they_were(batch, reward, count):
    goals = torch.randint(3, (count, 2)).double()  # duplicates happen
    labelled = with_goals(batch, goals)
    before = labelled.clone()
    out = HindsightRelabel(GoalTask(EqualGoals(), reward, success_reward=3.0))(labelled)
    original = batch["next", "achieved_goal"] == batch["desired_goal"]
    failed = batch["next", "terminated"].squeeze(-1) & ~original.all(-1)
    assert agrees(out, oracle(batch, goals, reward=reward, success_reward=3.0, failed=failed))
    assert bitwise_equal(labelled, before), "the input was modified"


@given(batches())
def test_every_goal_of_the_sampler_was_achieved_in_the_batch_and_reaches_every_pair_alike(batch):
    out = HindsightRelabel(GoalTask(EqualGoals()))(AllGoalSampler()(batch))
    assert (out["desired_goal"] == out["desired_goal"][:, :1, :1]).all()
    assert torch.equal(out["desired_goal"], out["next", "desired_goal"])
    assert torch.equal(out["original_goal"], batch["desired_goal"].expand(out["original_goal"].shape))


@given(batches())
def test_the_final_goal_terminates_its_own_trajectory_no_later_than_its_last_step(batch):
    length = lengths_of(batch)[0]
    if not length:
        return
    final = batch["next", "achieved_goal"][0, length - 1]
    out = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, final.unsqueeze(0)))
    held = torch.equal(batch["achieved_goal"][0, 0], final)
    terminated = out["next", "terminated"][0, 0].squeeze(-1)
    assert terminated.any() != held
    first = next(t for t in range(length) if torch.equal(batch["next", "achieved_goal"][0, t], final))
    assert held or terminated.nonzero().item() == first


@given(batches())
def test_trajectories_do_not_see_each_other(batch):
    goals = torch.randint(3, (3, 2)).double()
    whole = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, goals))
    for i in range(len(batch)):
        alone = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch[i : i + 1], goals))
        assert bitwise_equal(whole[:, i : i + 1], alone)


def test_goals_chosen_for_each_trajectory_stay_with_it():
    batch = trajectories(3, 4)
    goals = torch.randint(3, (3, 2, 2)).double()
    labelled = batch.copy().set(("hindsight", "goal"), goals.unsqueeze(1).expand(3, 4, 2, 2))
    out = HindsightRelabel(GoalTask(EqualGoals()))(labelled)
    for i in range(3):
        alone = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch[i : i + 1], goals[i]))
        assert bitwise_equal(out[:, i : i + 1], alone)


def test_goals_that_do_not_exist_are_masked():
    batch = with_goals(trajectories(), torch.randint(3, (3, 2)).double())
    exists = torch.tensor([True, False, True])
    batch["hindsight", "goal_mask"] = exists.expand(4, 5, 3)
    mask = HindsightRelabel(GoalTask(EqualGoals()))(batch)["collector", "mask"]
    full = HindsightRelabel(GoalTask(EqualGoals()))(batch.exclude(("hindsight", "goal_mask")))["collector", "mask"]
    assert not mask[1].any() and torch.equal(mask[exists], full[exists]) and full[1].any()


@pytest.mark.parametrize("lead", [(), (4,), (2, 2), (2, 1, 2)])
def test_any_leading_shape(lead):
    batch = trajectories(4) if lead else trajectories(1)
    goals = torch.randint(3, (3, 2)).double()
    flat = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, goals))
    shaped = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch.reshape(*lead, 5), goals))
    assert shaped.shape == (3, *lead, 5)
    assert bitwise_equal(shaped.reshape(3, -1, 5), flat)


def test_nested_goal_keys():
    batch = with_goals(trajectories(), torch.randint(3, (3, 2)).double())
    nested = batch.clone()
    for name in ("achieved_goal", "desired_goal"):
        nested.rename_key_(name, ("agents", name))
        nested.rename_key_(("next", name), ("next", "agents", name))
    task = GoalTask(EqualGoals(), achieved_goal=("agents", "achieved_goal"), desired_goal=("agents", "desired_goal"))
    out, plain = HindsightRelabel(task)(nested), HindsightRelabel(GoalTask(EqualGoals()))(batch)
    assert torch.equal(out["agents", "desired_goal"], plain["desired_goal"])
    assert torch.equal(out["next", "agents", "desired_goal"], plain["next", "desired_goal"])
    for key in (*KEYS.values(), ("next", "done"), ("collector", "mask")):
        assert torch.equal(out[key], plain[key])


def test_entries_that_do_not_change_are_views():
    batch = with_goals(trajectories(), torch.randint(3, (7, 2)).double())
    out = HindsightRelabel(GoalTask(EqualGoals()))(batch)
    batch["observation"].fill_(7.0)
    assert (out["observation"] == 7.0).all()


def test_a_distance_threshold_counts_as_reached():
    batch = trajectories()
    goals = torch.rand(4, 2, dtype=torch.float64) * 2
    out = HindsightRelabel(GoalTask(WithinDistance(0.6)))(with_goals(batch, goals))
    assert agrees(out, oracle(batch, goals, reached=oracles.nearer_than(0.6)))
    assert out["next", "terminated"].any()


def test_a_reward_function_sees_the_whole_relabelled_batch():
    def reward(tensordict):
        return (tensordict["next", "observation"] * tensordict["desired_goal"].sum(-1, True)).sum(-1, True)

    batch = with_goals(trajectories(), torch.randint(1, 3, (3, 2)).double())
    out = HindsightRelabel(GoalTask(EqualGoals(), reward))(batch)
    live = out["collector", "mask"].unsqueeze(-1)
    assert torch.equal(out["next", "reward"], torch.where(live, reward(out), 0)) and out["next", "reward"].any()


def test_truncation_stays_apart_from_termination():
    batch = trajectories(2, 3)
    batch["next", "achieved_goal"] = torch.tensor([[[1.0, 0], [2, 0], [3, 0]], [[4, 0], [5, 0], [6, 0]]]).double()
    batch["achieved_goal"].fill_(9.0)
    goals = torch.tensor([[2.0, 0.0], [6.0, 0.0]]).double()
    out = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, goals))
    assert out["next", "terminated"].nonzero()[:, :3].tolist() == [[0, 0, 1], [1, 1, 2]]
    assert out["next", "truncated"].nonzero()[:, :3].tolist() == [[0, 1, 2], [1, 0, 2]]


def test_a_success_under_the_original_goal_does_not_end_other_pairs():
    batch = trajectories(1, 3)
    batch["achieved_goal"].fill_(9.0)
    batch["next", "achieved_goal"] = torch.tensor([[[1.0, 0], [2, 0], [3, 0]]]).double()
    batch["desired_goal"] = torch.tensor([3.0, 0.0]).double().expand(1, 3, 2).clone()
    batch["next", "terminated"][0, 2], batch["next", "truncated"][0, 2] = True, False
    out = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, torch.tensor([[7.0, 0.0], [3.0, 0.0]]).double()))
    assert out["next", "truncated"][:, 0, 2, 0].tolist() == [True, False]
    assert out["next", "terminated"][:, 0, 2, 0].tolist() == [False, True]


def test_time_limits_can_terminate_as_in_the_authors_code():
    batch = trajectories(3, 4, lengths=[4, 2, 3])
    batch["next", "truncated"][2, 2] = batch["next", "done"][2, 2] = False  # collection broke off here: no time limit
    out = HindsightRelabel(GoalTask(EqualGoals()), time_limit_terminates=True)(
        with_goals(batch, torch.tensor([[7.0, 7.0]]).double())
    )
    assert out["next", "terminated"].nonzero()[:, :3].tolist() == [[0, 0, 3], [0, 1, 1]]
    assert out["next", "truncated"].nonzero()[:, :3].tolist() == [[0, 2, 2]]


def test_rows_with_several_trajectories_are_refused():
    batch = with_goals(trajectories(), torch.zeros(1, 2).double())
    batch["next", "terminated"][1, 2] = True
    with pytest.raises(
        ValueError,
        match=r"of one trajectory a row: .*HTRPOTrainer splits by itself.*call .*split_trajectories\(batch\)",
    ):
        HindsightRelabel(GoalTask(EqualGoals()))(batch)


def test_goals_of_another_size_are_refused():
    batch = with_goals(trajectories(), torch.zeros(1, 3))
    with pytest.raises(
        ValueError, match=r"HindsightRelabel: .*hindsight.* of the goal size 2 of 'desired_goal', got 3"
    ):
        HindsightRelabel(GoalTask(EqualGoals()))(batch)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_non_finite_rewards_on_live_steps_are_refused(bad):
    batch = with_goals(trajectories(values=1), torch.ones(1, 2).double())
    task = GoalTask(EqualGoals(), lambda td: td["next", "observation"][..., :1])
    batch["next", "observation"][2, 1, 0] = bad
    with pytest.raises(ValueError, match=r"HindsightRelabel: .*reward.* finite on every live step, got (nan|inf)"):
        HindsightRelabel(task)(batch)
    batch["collector", "mask"] = torch.arange(5).expand(4, 5) < 1
    assert HindsightRelabel(task)(batch)["next", "reward"].isfinite().all()


def test_nested_entries_are_kept():
    batch = trajectories().set("info", TensorDict(energy=torch.rand(4, 5, 1), batch_size=[4, 5]))
    out = HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, torch.zeros(2, 2).double()))
    assert torch.equal(out["info", "energy"][1], batch["info", "energy"])


def test_goals_of_single_steps_are_refused():
    from torchrl_htrpo.hindsight import FinalGoalSampler, FutureGoalSampler

    batch = trajectories(6, 6)
    assert HindsightRelabel(GoalTask(EqualGoals()))(FinalGoalSampler()(batch)).shape == (1, 6, 6)
    with pytest.raises(ValueError, match="must be the same at every step of a trajectory"):
        HindsightRelabel(GoalTask(EqualGoals()))(FutureGoalSampler()(batch))


@pytest.mark.parametrize("ends_at_success", [True, False])
def test_a_failure_on_the_original_goal_is_one_under_every_goal_if_success_ends_nothing(ends_at_success):
    batch = trajectories(1, 3)
    batch["desired_goal"] = batch["next", "desired_goal"] = torch.ones(1, 3, 2).double()
    batch["next", "achieved_goal"] = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]]).double()
    batch["achieved_goal"] = torch.full((1, 3, 2), 9.0).double()
    batch["next", "terminated"] = batch["next", "done"] = torch.tensor([[[False], [False], [True]]])
    batch["next", "truncated"] = torch.zeros(1, 3, 1, dtype=torch.bool)
    batch = with_goals(batch, torch.tensor([[7.0, 7.0]]).double())
    out = HindsightRelabel(GoalTask(EqualGoals(), ends_at_success=ends_at_success))(batch)
    assert out["next", "terminated"][0, 0, 2].item() is not ends_at_success
    assert out["next", "truncated"][0, 0, 2].item() is ends_at_success


def test_an_original_goal_that_changes_in_mid_trajectory_is_refused():
    batch = trajectories(2, 4)
    batch["desired_goal"][1, 2] += 1
    with pytest.raises(ValueError, match="HindsightRelabel: 'desired_goal' must be the same at every step"):
        HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, torch.zeros(1, 2).double()))
