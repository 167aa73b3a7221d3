"""Batch transforms work in TorchRL's containers and refuse to work in an environment."""

from __future__ import annotations

import pytest
import torch
from tensordict.nn import TensorDictSequential
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose, TransformedEnv

from tests.cases import actor_with, bitwise_equal, trajectories
from torchrl_htrpo.batch import RowSampler
from torchrl_htrpo.batch.mask import validity
from torchrl_htrpo.envs import BitFlipEnv, EqualGoals, GoalTask
from torchrl_htrpo.hindsight import (
    AllGoalSampler,
    CumulativeGoalRatio,
    FinalGoalSampler,
    FutureGoalSampler,
    HGFGoalSampler,
    HindsightRelabel,
    HindsightReplay,
    UniformGoalSampler,
)

TASK = GoalTask(EqualGoals())
TRANSFORMS = {
    "all": AllGoalSampler,
    "uniform": lambda: UniformGoalSampler(3),
    "hgf": lambda: HGFGoalSampler(3),
    "future": FutureGoalSampler,
    "final": FinalGoalSampler,
    "replay": lambda: HindsightReplay(TASK, 4),
    "relabel": lambda: HindsightRelabel(TASK),
    "ratio": lambda: CumulativeGoalRatio(actor_with("categorical", torch.float32)),
    "rows": lambda: RowSampler(4),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_environment_refuses_a_batch_transform(name):
    transform = TRANSFORMS[name]()
    with pytest.raises(RuntimeError, match=rf"{type(transform).__name__} works on batches of whole trajectories"):
        TransformedEnv(BitFlipEnv(4, num_envs=2), transform).reset()


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("all", "desired_goal"),
        ("hgf", ("next", "achieved_goal")),
        ("relabel", ("hindsight", "goal")),
        ("relabel", "achieved_goal"),
        ("relabel", ("next", "truncated")),
        ("ratio", "action_log_prob"),
        ("rows", "importance_weight"),
        ("rows", "advantage"),
    ],
)
def test_a_missing_entry_is_named_with_those_present(name, missing):
    transform = TRANSFORMS[name]()
    batch = AllGoalSampler()(trajectories(actor=actor_with("categorical")))
    batch["importance_weight"], batch["advantage"] = torch.ones(batch.shape), torch.ones(*batch.shape, 1)
    with pytest.raises(KeyError) as error:
        transform(batch.exclude(missing))
    message = str(error.value)
    assert type(transform).__name__ in message and repr(missing)[1:-1] in message and "observation" in message


def test_compose_sequential_and_calls_in_turn_agree():
    actor = actor_with("categorical")
    batch = trajectories(actor=actor)

    def parts():
        return AllGoalSampler(), HindsightRelabel(TASK), CumulativeGoalRatio(actor)

    composed, chained = Compose(*parts())(batch), TensorDictSequential(*parts())(batch)
    by_hand = batch
    for part in parts():
        by_hand = part(by_hand)
    assert bitwise_equal(composed, by_hand) and bitwise_equal(chained, by_hand)
    assert (by_hand["importance_weight"] > 0).any()


def test_replay_buffer_samples_come_out_relabelled():
    actor = actor_with("categorical")
    buffer = ReplayBuffer(storage=LazyTensorStorage(8), batch_size=4)
    buffer.extend(trajectories(8, actor=actor))
    buffer.append_transform(Compose(AllGoalSampler(), HindsightRelabel(TASK), CumulativeGoalRatio(actor)))
    sample = buffer.sample()
    assert sample.shape[1:] == (4, 5)
    assert sample["importance_weight"].sum().item() == pytest.approx(1.0)


def test_an_actor_inside_a_transform_is_not_its_submodule():
    assert not list(CumulativeGoalRatio(actor_with("categorical")).parameters())


@pytest.mark.parametrize("extra", [(), (1,)])
def test_masks_with_and_without_a_trailing_dimension_are_read(extra):
    batch = trajectories(lengths=[2, 5, 1, 3])
    expected = batch["collector", "mask"]
    batch["collector", "mask"] = expected.reshape(*expected.shape, *extra)
    assert torch.equal(validity(batch), expected)
    assert validity(batch.exclude(("collector", "mask"))).all()
