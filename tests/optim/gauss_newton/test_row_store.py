"""RowStore: memory that every update reuses."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.optim.gauss_newton.row_store import RowStore


def test_no_more_is_reserved_than_there_is():
    store = RowStore(100)
    assert store.reserve(60)
    assert not store.reserve(41)
    assert store.reserve(40)
    store.clear()
    assert store.reserve(100)


def test_what_is_kept_is_a_copy_in_the_same_shapes():
    store, tensors = RowStore(), [torch.randn(3, 2), torch.randn(4)]
    kept = store.keep(tensors)
    assert all(torch.equal(a, b) for a, b in zip(kept, tensors, strict=True))
    tensors[0].zero_()
    assert kept[0].any()


def test_two_kept_before_clearing_do_not_share_memory_and_those_after_do():
    store = RowStore()
    first, second = (store.keep([torch.full((5,), float(i))])[0] for i in range(2))
    assert first.tolist() == [0.0] * 5 and second.tolist() == [1.0] * 5
    store.clear()
    store.keep([torch.full((3,), 7.0)])
    assert first.tolist() == [7.0, 7.0, 7.0, 0.0, 0.0]  # written over


@pytest.mark.parametrize("change", [torch.randn(9), torch.randn(5, dtype=torch.float64)], ids=["larger", "other_dtype"])
def test_memory_that_does_not_suit_is_replaced(change):
    store = RowStore()
    store.keep([torch.randn(5)])
    store.clear()
    assert torch.equal(store.keep([change])[0], change)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="RowStore: max_bytes must be not negative, got -1"):
        RowStore(-1)
