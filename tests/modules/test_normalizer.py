"""Running statistics equal those of all inputs at once, and change only in update()."""

from __future__ import annotations

import pytest
import torch

from tests.processes import needs_gloo, together
from torchrl_htrpo.distributed import Group, size_of
from torchrl_htrpo.modules import GoalNormalizer, RunningNormalizer


def test_statistics_of_pieces_equal_those_of_the_whole():
    data = torch.randn(100, 3, dtype=torch.float64) * torch.tensor([1.0, 50.0, 0.1]) + 7
    normalizer = RunningNormalizer(3).double()
    for part in data.split([1, 40, 9, 50]):
        normalizer.update(part.reshape(1, -1, 3))
    assert torch.allclose(normalizer.mean, data.mean(0)) and normalizer.count == 100
    assert torch.allclose(normalizer.variance, data.var(0, unbiased=False))
    expected = ((data - data.mean(0)) / data.std(0, unbiased=False)).clamp(-5, 5)
    assert torch.allclose(normalizer(data), expected)


def test_far_from_zero_the_variance_is_still_right_in_float32():
    data = torch.randn(4000, 1) * 0.05 + 100
    normalizer = RunningNormalizer(1)
    for part in data.split(500):
        normalizer.update(part)
    assert normalizer.variance.item() == pytest.approx(data.double().var(unbiased=False).item(), rel=1e-3)


def test_only_marked_inputs_count_and_padding_may_hold_anything():
    data = torch.randn(6, 4, 2)
    mask = torch.rand(6, 4) > 0.4
    spoilt = torch.where(mask.unsqueeze(-1), data, torch.nan)
    one, two = RunningNormalizer(2), RunningNormalizer(2)
    one.update(spoilt, mask)
    two.update(data[mask])
    assert torch.allclose(one.mean, two.mean) and torch.allclose(one.variance, two.variance) and one.count == mask.sum()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_input_that_is_not_finite_does_not_spoil_the_statistics(bad):
    data = torch.randn(10, 2)
    one, two = RunningNormalizer(2), RunningNormalizer(2)
    two.update(data[1:])
    data[0, 1] = bad
    one.update(data)
    assert torch.equal(one.mean, two.mean) and torch.equal(one.variance, two.variance) and one.count == 9


@pytest.mark.parametrize("value", [1e8, -1e8, 1e19])
@pytest.mark.parametrize("first", [True, False])
def test_one_absurd_input_does_not_spoil_its_column(value, first):
    batches = [0.1 * torch.randn(3200, 2) + 1 for _ in range(10)]
    batches[0 if first else 4][7, 0] = value
    normalizer = RunningNormalizer(2)
    for batch in batches:
        normalizer.update(batch)
    assert normalizer.variance.sqrt().tolist() == pytest.approx([0.1, 0.1], rel=0.3)
    assert normalizer.mean.tolist() == pytest.approx([1, 1], abs=0.01)


def absurd(rank: int, group: Group) -> list[torch.Tensor]:
    """Statistics of a batch with an absurd number in one process, which are few inputs of each."""
    torch.manual_seed(0)
    batch, normalizer = torch.randn(1200, 2, dtype=torch.float64), RunningNormalizer(2).double()
    batch[700:, 0] += 1000  # the processes have other middles
    batch[5, 1] = 1e8
    normalizer.update(batch.split(1200 // size_of(group))[rank], process_group=group)
    return [normalizer.mean, normalizer.variance]


@needs_gloo
@pytest.mark.parametrize("processes", [2, 3])
def test_an_absurd_input_is_one_by_the_inputs_of_all_processes(processes):
    alone = absurd(0, None)
    assert alone[1][1].sqrt() < 10
    for found in together(absurd, processes):
        for value, expected in zip(found, alone, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_inputs_that_grow_a_thousandfold_are_followed():
    normalizer = RunningNormalizer(1)
    normalizer.update(torch.randn(2000, 1))
    for _ in range(200):
        normalizer.update(1000 * torch.randn(2000, 1))
    assert normalizer.variance.sqrt().item() == pytest.approx(1000, rel=0.1)


def test_an_update_without_inputs_changes_nothing():
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.ones(3, 2), torch.zeros(3, dtype=torch.bool))
    assert normalizer.variance.tolist() == [1, 1] and normalizer.mean.tolist() == [0, 0] and normalizer.count == 0


def test_statistics_are_frozen_between_updates_clipped_floored_and_saved():
    normalizer = RunningNormalizer(1, clip=2.0, min_std=0.5)
    normalizer.update(torch.full((4, 1), 3.0))
    state = {key: value.clone() for key, value in normalizer.state_dict().items()}
    assert normalizer(torch.tensor([[3.25], [100.0]])).tolist() == [[0.5], [2.0]]
    assert all(torch.equal(value, state[key]) for key, value in normalizer.state_dict().items())
    other = RunningNormalizer(1, clip=2.0, min_std=0.5)
    other.load_state_dict(state)
    assert torch.equal(other(torch.ones(1, 1)), normalizer(torch.ones(1, 1)))


def test_achieved_and_desired_goals_share_statistics():
    normalizer = GoalNormalizer(1, 2)
    observation, achieved, desired = torch.randn(5, 1), torch.randn(5, 2), torch.randn(5, 2) + 4
    normalizer.update(observation, achieved, desired)
    assert torch.allclose(normalizer.goal.mean, torch.cat((achieved, desired)).mean(0), atol=1e-6)
    assert normalizer.goal.count == 10 and normalizer.observation.count == 5
    joined = normalizer(observation, desired)
    assert torch.equal(joined, torch.cat((normalizer.observation(observation), normalizer.goal(desired)), -1))


def test_without_a_bound_nothing_is_clipped():
    normalizer = GoalNormalizer(1, 1, clip=None)
    normalizer.update(torch.randn(100, 1), torch.randn(100, 1))
    assert (normalizer(torch.tensor([[1e3]]), torch.tensor([[-1e3]])).abs() > 100).all()
