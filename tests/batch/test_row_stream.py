"""Rows drawn from parts of a batch are those drawn from the whole."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.batch import Draws, RowSampler, RowStream, weight_share

KEYS = ("number", "importance_weight")


def batch(live_share=0.7, shape=(7, 4, 5)) -> TensorDict:
    torch.manual_seed(0)
    found = TensorDict(
        importance_weight=torch.rand(shape, dtype=torch.float64) ** 4,
        advantage=torch.randn(*shape, 1, dtype=torch.float64),
        number=torch.arange(140).reshape(shape),
        batch_size=shape,
    )
    return found.set(("collector", "mask"), torch.rand(shape) < live_share)


def streamed(found, draws, size):
    stream = RowStream(draws, sum(draws.sampler.sums(part) for part in found.split(size)))
    parts = found.split(size)
    for number, part in enumerate(parts, 1):
        stream.take(part, last=number == len(parts))
    return stream.rows()


@pytest.mark.parametrize("size", [1, 2, 5, 7])
@pytest.mark.parametrize("num_rows", [1, 3, 40, 10_000, None])
@pytest.mark.parametrize("kind", ["contribution", "weight", "uniform"])
def test_parts_give_the_rows_of_the_whole(kind, num_rows, size):
    kinds = {"contribution": {}, "weight": {"priority": weight_share}, "uniform": {"uniform_share": 1.0}}
    draws = Draws(RowSampler(num_rows, **kinds[kind]), 3, keys=KEYS)
    found = batch()
    torch.manual_seed(1)
    whole = list(draws.of(found))
    torch.manual_seed(1)
    parts = streamed(found, draws, size)
    assert len(whole) == len(parts) == 3
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one["number"], other["number"])
        torch.testing.assert_close(one["importance_weight"], other["importance_weight"], rtol=1e-12, atol=0)


def test_a_tick_behind_the_last_edge_takes_the_last_row():
    """Rounding can leave the sum of the probabilities below 1."""
    found = batch(live_share=1.0)
    draws = Draws(RowSampler(4, uniform_share=1.0))
    stream = RowStream(draws, draws.sampler.sums(found) * (1 + 1e-3))
    stream.ticks = [torch.tensor([0.1, 0.5, 0.9, 0.9999], dtype=torch.float64)]
    for number, part in enumerate(found.split(2), 1):
        stream.take(part, last=number == 4)
    assert stream.rows()[0]["number"][-1] == 139 and stream.rows()[0].shape == (4,)


def test_rows_have_the_chosen_entries_and_those_of_the_sampler():
    (rows,) = streamed(batch(), Draws(RowSampler(4), keys=["number"]), 2)
    assert set(rows.keys(True, True)) == {"number", "importance_weight", "advantage", ("collector", "mask")}


def test_the_input_is_not_changed():
    found = batch()
    before = found.clone()
    streamed(found, Draws(RowSampler(4)), 2)
    assert (found == before).all()
