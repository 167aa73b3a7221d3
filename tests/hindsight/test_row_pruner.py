"""Rows that hardly count go, and no more is lost than was allowed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from tests.cases import bitwise_equal
from torchrl_htrpo.batch import RowSampler
from torchrl_htrpo.hindsight import RowPruner


def weighted(shape=(3, 4, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return TensorDict(
        importance_weight=torch.randn(shape, dtype=torch.float64, generator=generator).mul(3).exp(),
        advantage=torch.randn((*shape, 1), dtype=torch.float64, generator=generator) ** 3,
        value=torch.rand(shape, dtype=torch.float64, generator=generator),
        index=torch.arange(torch.Size(shape).numel()).reshape(shape),
        collector=TensorDict(mask=torch.rand(shape, generator=generator) < 0.8, batch_size=shape),
        batch_size=shape,
    )


def shares(batch):
    """Of each row in the weight and in the contributions, one row after the other."""
    weight, size, live = [], [], batch["collector", "mask"].flatten().tolist()
    for w, a in zip(batch["importance_weight"].flatten().tolist(), batch["advantage"].flatten().tolist(), strict=True):
        weight.append(w)
        size.append(abs(w * a))
    return [
        [value / sum(v for v, alive in zip(values, live, strict=True) if alive) for value in values]
        for values in (weight, size)
    ]


@given(st.integers(0, 50), st.sampled_from([0.0, 1e-6, 1e-3, 0.01, 0.1, 0.5, 0.9]))
def test_the_lost_share_is_what_was_lost_and_within_its_bound(seed, bound):
    batch = weighted(seed=seed)
    pruned = RowPruner(bound)(batch)
    gone = (batch["collector", "mask"] & ~pruned["collector", "mask"]).flatten().tolist()
    lost = [sum(share for share, out in zip(each, gone, strict=True) if out) for each in shares(batch)]
    assert max(lost) <= bound + 1e-12
    assert pruned["hindsight", "lost_share"].unique().item() == pytest.approx(max(lost), abs=1e-12)
    assert not pruned["importance_weight"][~pruned["collector", "mask"]].any()
    assert torch.equal(
        pruned["importance_weight"][pruned["collector", "mask"]],
        batch["importance_weight"][pruned["collector", "mask"]],
    )


def test_the_least_important_rows_go_and_as_many_as_the_bound_allows():
    batch = weighted()
    importance = torch.tensor(shares(batch)).amax(0).double()
    live = batch["collector", "mask"].flatten()
    kept = RowPruner(0.05)(batch)["collector", "mask"].flatten()
    gone = live & ~kept
    assert gone.any() and kept.any()
    assert importance[gone].max() < importance[kept].min()
    assert importance[gone].sum() + importance[kept].min() > 0.05


def test_a_mean_of_something_bounded_moves_no_more_than_the_bound():
    batch = weighted((20, 20, 20))
    pruned = RowPruner(0.02)(batch)
    means = [
        (td["importance_weight"] * td["value"])[td["collector", "mask"]].sum()
        / batch["importance_weight"][batch["collector", "mask"]].sum()
        for td in (batch, pruned)
    ]
    assert 0 <= (means[0] - means[1]).item() <= 0.02
    assert pruned["collector", "mask"].sum() < 0.5 * batch["collector", "mask"].sum()


def test_with_a_bound_of_zero_only_rows_go_that_add_nothing():
    batch = weighted()
    batch["importance_weight"][0] = 0.0
    kept = RowPruner(0.0)(batch)["collector", "mask"]
    assert torch.equal(kept, batch["collector", "mask"] & (batch["importance_weight"] > 0))


def test_a_row_without_advantage_stays_for_the_divergence():
    batch = weighted()
    batch["advantage"].zero_()
    assert RowPruner(0.0)(batch)["collector", "mask"].equal(batch["collector", "mask"])


def test_a_batch_without_live_rows_passes():
    batch = weighted()
    batch["collector", "mask"].fill_(False)
    assert not RowPruner()(batch)["collector", "mask"].any()


def test_what_is_gathered_afterwards_is_what_was_kept_and_the_input_is_left_alone():
    batch = weighted()
    before = batch.clone()
    pruned = RowPruner(0.1)(batch)
    assert torch.equal(RowSampler()(pruned)["index"], batch["index"][pruned["collector", "mask"]])
    assert bitwise_equal(batch, before)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_bad_bounds_are_refused(share):
    with pytest.raises(ValueError, match=rf"RowPruner: max_lost_share must be in \[0, 1\), got {share}"):
        RowPruner(share)


@pytest.mark.parametrize("key", ["importance_weight", "advantage"])
def test_values_that_are_not_finite_are_refused_where_they_live(key):
    batch = weighted()
    batch[key][batch["collector", "mask"]] = torch.nan
    with pytest.raises(ValueError, match=rf"RowPruner: '{key}' must be finite on every live step, got nan"):
        RowPruner()(batch)
