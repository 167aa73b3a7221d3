"""Weights of rows: given or equal, and 0 on masked rows."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from tests import oracles
from torchrl_htrpo.batch.weights import effective_sample_size, row_weights

LIKE = torch.zeros((), dtype=torch.float64)


def test_equal_weights_sum_to_one_over_live_rows_in_the_dtype_asked_for():
    batch = TensorDict(
        collector=TensorDict(mask=torch.tensor([[True, False, True]]), batch_size=[1, 3]), batch_size=[1, 3]
    )
    weight = row_weights(batch, "w", LIKE)
    assert weight.tolist() == [[0.5, 0.0, 0.5]] and weight.dtype == torch.float64


@pytest.mark.parametrize("extra", [(), (1,)])
def test_given_weights_are_kept_and_masked(extra):
    mask = torch.tensor([True, False]).reshape(2, *extra)
    batch = TensorDict(
        w=torch.tensor([0.3, torch.nan]), collector=TensorDict(mask=mask, batch_size=[2]), batch_size=[2]
    )
    assert row_weights(batch, "w", LIKE).tolist() == [pytest.approx(0.3), 0.0]


def test_without_live_rows_there_is_no_weight_and_no_nan():
    batch = TensorDict(collector=TensorDict(mask=torch.zeros(3, dtype=torch.bool), batch_size=[3]), batch_size=[3])
    assert not row_weights(batch, "w", LIKE).any()


def test_equal_weights_of_a_batch_without_entries():
    assert row_weights(TensorDict(batch_size=[2, 2]), "w", LIKE).tolist() == [[0.25, 0.25], [0.25, 0.25]]


def test_effective_sample_size_equals_its_definition():
    weights = torch.rand(4, 5, dtype=torch.float64)
    assert effective_sample_size(weights).item() == pytest.approx(oracles.effective_sample_size(weights))
    assert effective_sample_size(torch.ones(7)) == 7 and effective_sample_size(torch.zeros(7)) == 0
