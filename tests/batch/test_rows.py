"""map_rows: chunks and masks do not change the values."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.batch.rows import _map_all, map_rows


def batch_of(shape):
    return TensorDict(x=torch.randn(*shape, 2, dtype=torch.float64), batch_size=shape)


def total(rows):
    return rows["x"].square().sum(-1)


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("chunk_size", [1, 5, 1000])
def test_marked_rows_are_evaluated_and_others_are_zero(shape, chunk_size):
    batch, mask = batch_of(shape), torch.rand(shape) > 0.5
    sizes = []

    def counted(rows):
        sizes.append(len(rows))
        return total(rows)

    values = map_rows(counted, batch, mask, chunk_size)
    assert torch.equal(values, torch.where(mask, total(batch), 0))
    assert max(sizes) <= chunk_size and sum(sizes) == mask.sum()


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("chunk_size", [1, 5, 1000])
def test_evaluating_every_row_gives_the_same(shape, chunk_size):
    batch, sizes = batch_of(shape), []

    def counted(rows):
        sizes.append(len(rows))
        return total(rows)

    assert torch.equal(_map_all(counted, batch, torch.device("cpu"), chunk_size), total(batch))
    assert max(sizes) <= chunk_size


def test_nothing_marked_gives_zeros_of_the_right_dtype():
    values = map_rows(total, batch_of((3, 4)), torch.zeros(3, 4, dtype=torch.bool), 2)
    assert torch.equal(values, torch.zeros(3, 4, dtype=torch.float64))


def test_expanded_entries_are_read_as_they_are():
    batch = batch_of((4,)).expand(3, 4)
    assert torch.equal(map_rows(total, batch, torch.ones(3, 4, dtype=torch.bool), 5), total(batch))


def test_every_device_agrees(device):
    batch, mask = batch_of((3, 4)), torch.rand(3, 4) > 0.5
    values = map_rows(total, batch.to(device), mask.to(device), 5)
    assert values.device.type == device.type and torch.allclose(values.cpu(), map_rows(total, batch, mask, 5))
