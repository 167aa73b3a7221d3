"""RowSampler: weighted sums over drawn rows are unbiased, and rows with a large contribution are always drawn."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from tests.cases import bitwise_equal
from torchrl_htrpo.batch import RowSampler, contribution, weight_share
from torchrl_htrpo.checks import set_checks


def weighted(shape=(3, 4, 5), live_share=0.8):
    advantage = torch.randn(*shape, 1, dtype=torch.float64) ** 3
    return TensorDict(
        importance_weight=torch.rand(shape, dtype=torch.float64) ** 2,
        advantage=advantage,
        value=torch.randn(shape, dtype=torch.float64),
        index=torch.arange(advantage.numel()).reshape(shape),
        collector=TensorDict(mask=torch.rand(shape) < live_share, batch_size=shape),
        batch_size=shape,
    )


def live_sum(batch, of="value"):
    weight = batch["importance_weight"]
    mask = batch.get(("collector", "mask"))
    return (weight * batch[of] * mask).sum().item()


@pytest.mark.parametrize("priority", [contribution, weight_share])
@pytest.mark.parametrize("uniform_share", [0.0, 0.2, 1.0])
def test_sums_over_drawn_rows_are_unbiased(priority, uniform_share):
    batch = weighted()
    sampler = RowSampler(12, priority=priority, uniform_share=uniform_share)
    sums = torch.tensor([live_sum(sampler(batch)) for _ in range(3000)], dtype=torch.float64)
    error = sums.std() / len(sums) ** 0.5
    assert abs(sums.mean().item() - live_sum(batch)) < 4 * error.item() and error > 0


def test_the_expected_number_of_draws_of_a_row_is_the_divisor_of_its_weight(monkeypatch):
    batch, sampler, counts, scale = weighted(), RowSampler(7), torch.zeros(60), torch.zeros(60).double()
    for k in range(2000):
        offset = torch.tensor((k + 0.5) / 2000, dtype=torch.float64)
        monkeypatch.setattr(torch, "rand", lambda *_, offset=offset, **__: offset)
        rows = sampler(batch)
        counts += torch.bincount(rows["index"], minlength=60) / 2000
        scale[rows["index"]] = batch["importance_weight"].reshape(-1)[rows["index"]] / rows["importance_weight"]
    assert torch.equal(counts > 0, batch["collector", "mask"].reshape(-1))
    assert torch.allclose(counts.double(), scale, atol=1.5e-3)


def test_a_row_expected_k_times_is_drawn_at_least_floor_k_times():
    batch = weighted()
    mask = batch["collector", "mask"]
    priority = torch.where(mask, contribution(batch), 0)
    expected = 40 * (0.8 * priority / priority.sum() + 0.2 * mask / mask.sum())
    for _ in range(50):
        counts = torch.bincount(RowSampler(40)(batch)["index"], minlength=60).reshape(mask.shape)
        assert ((counts - expected).abs() < 1 + 1e-9).all()
        assert not counts[~mask].any()


def test_the_uniform_share_bounds_the_largest_new_weight():
    batch = weighted()
    rows = RowSampler(16, uniform_share=0.5)(batch)
    largest = batch["importance_weight"][batch["collector", "mask"]].max()
    assert rows["importance_weight"].max() <= largest * batch["collector", "mask"].sum() / (16 * 0.5) + 1e-12


def test_without_a_budget_every_live_row_is_taken_once():
    batch = weighted()
    rows, mask = RowSampler(None)(batch), batch["collector", "mask"]
    assert torch.equal(rows["index"], batch["index"][mask])
    assert torch.equal(rows["importance_weight"], batch["importance_weight"][mask])


@pytest.mark.parametrize("num_rows", [7, 1000, None])
def test_draws_equal_repeated_calls(num_rows):
    batch = weighted()
    calls, draws = (RowSampler(num_rows, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    several = list(draws.draws(batch, 4))
    assert len(several) == 4 and all(bitwise_equal(rows, calls(batch)) for rows in several)
    assert num_rows != 7 or not bitwise_equal(several[0], several[1])


def test_changing_one_draw_does_not_change_the_next():
    for num_rows in (7, None):
        first, second = RowSampler(num_rows).draws(weighted(), 2)
        first["importance_weight"] = torch.zeros_like(first["importance_weight"])
        assert second["importance_weight"].any()


def test_gradients_are_enabled_between_draws():
    for _ in RowSampler(7).draws(weighted(), 2):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("spare", [0, 1, 1000])
def test_a_budget_above_the_live_rows_takes_each_once_with_its_weight(spare):
    batch = weighted()
    rows, mask = RowSampler(int(batch["collector", "mask"].sum()) + spare)(batch), batch["collector", "mask"]
    assert torch.equal(rows["index"], batch["index"][mask])
    assert torch.equal(rows["importance_weight"], batch["importance_weight"][mask])


@pytest.mark.parametrize("budget", [60, 70, 50])
def test_with_checks_off_masked_rows_fill_up_a_budget_above_the_live_rows(budget):
    batch = weighted(live_share=0.7)
    expected, live = RowSampler(budget)(batch), batch["collector", "mask"]
    assert live.sum() <= 50
    with set_checks("off"):
        rows = RowSampler(budget)(batch)
    assert (
        rows.shape == (min(budget, live.numel()),) and not rows["importance_weight"][~rows["collector", "mask"]].any()
    )
    assert bitwise_equal(rows[rows["collector", "mask"]], expected)


def test_with_checks_off_the_same_rows_are_drawn():
    batch = weighted()
    draws = []
    for mode in ("sync", "off"):
        with set_checks(mode):
            draws.append(RowSampler(8, generator=torch.Generator().manual_seed(2))(batch))
    assert bitwise_equal(*draws)


def test_a_budget_one_below_the_live_rows_is_kept():
    batch = weighted()
    budget = int(batch["collector", "mask"].sum()) - 1
    assert len(RowSampler(budget)(batch)) == budget


def test_uniform_rows_need_no_advantage():
    assert len(RowSampler(8, uniform_share=1.0)(weighted().exclude("advantage"))) == 8


def test_rows_of_equal_priority_are_drawn_evenly_when_nothing_contributes():
    batch = weighted(live_share=1.0)
    batch["advantage"].zero_()
    counts = torch.bincount(RowSampler(20)(batch)["index"], minlength=60)
    assert counts.sum() == 20 and counts.max() == 1


def test_a_batch_without_live_rows_gives_no_rows():
    batch = weighted(live_share=0.0)
    assert len(RowSampler(8)(batch)) == len(RowSampler(None)(batch)) == 0


def test_a_row_of_probability_zero_is_never_drawn(monkeypatch):
    batch = weighted((4,), 1.0)
    batch["advantage"] = torch.tensor([[0.0], [1.0], [0.0], [1.0]], dtype=torch.float64)
    batch["importance_weight"].fill_(1.0)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(0.0, dtype=torch.float64))
    assert RowSampler(2, uniform_share=0.0)(batch)["index"].tolist() == [1, 3]


def test_the_input_is_unchanged_and_a_seed_repeats_the_draw():
    batch = weighted()
    before = batch.clone()
    draws = [RowSampler(8, generator=torch.Generator().manual_seed(2))(batch) for _ in range(2)]
    assert bitwise_equal(batch, before) and bitwise_equal(*draws)


@pytest.mark.parametrize("key", ["importance_weight", "advantage"])
def test_non_finite_values_on_live_steps_are_refused(key):
    batch = weighted()
    batch[key][~batch["collector", "mask"]] = torch.nan
    RowSampler(8)(batch)
    batch[key][batch["collector", "mask"]] = torch.nan
    with pytest.raises(ValueError, match=rf"RowSampler: '{key}' must be finite on every live step, got nan"):
        RowSampler(8)(batch)


def test_rows_drawn_by_weight_need_no_advantage():
    assert len(RowSampler(8, priority=weight_share)(weighted().exclude("advantage"))) == 8


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_rows": 0}, "RowSampler: num_rows must be a positive integer, got 0"),
        ({"uniform_share": 1.5}, r"RowSampler: uniform_share must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RowSampler(**kwargs)
