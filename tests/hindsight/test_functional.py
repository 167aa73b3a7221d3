"""The mathematics of hindsight against loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import oracles
from torchrl_htrpo.batch.mask import last_steps
from torchrl_htrpo.batch.weights import effective_sample_size
from torchrl_htrpo.hindsight.functional import (
    cumulative_log_ratio,
    cut_at_first_success,
    distinct,
    filter_goals,
    goal_scale,
    in_box,
    trajectory_weights,
    varies,
)


def test_scale_is_one_over_the_standard_deviation_of_the_original_goals():
    goals = torch.randn(20, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1])
    assert goal_scale(goals).tolist() == pytest.approx(oracles.density_scale(goals))


def test_a_dimension_in_which_the_goals_do_not_vary_is_ignored():
    goals = torch.tensor([[0.0, 0.42], [1.0, 0.42]])
    assert goal_scale(goals)[1] == 0 and varies(goals).tolist() == [True, False]
    assert in_box(torch.tensor([[0.5, 99.0], [1.5, 0.42]]), goals).tolist() == [True, False]


def test_a_single_original_goal_leaves_plain_distances():
    assert goal_scale(torch.tensor([[3.0, 4.0]])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize("count", [1, 4, 40])
def test_filtering_equals_brute_force(spread, count):
    candidates = torch.randn(30, 2, dtype=torch.float64)
    originals = torch.randn(6, 2, dtype=torch.float64) * spread
    scale, inside = goal_scale(originals), in_box(candidates, originals)
    everywhere = torch.ones(30, dtype=torch.bool)
    index, exists = filter_goals(candidates, everywhere, originals, count, in_region=inside, scale=scale)
    chosen = index[exists].tolist()
    assert inside.any() and inside[chosen[0]]
    assert chosen == oracles.hgf(candidates, originals, count, oracles.density_scale(originals), chosen[0])


def test_without_any_goal_in_the_region_the_nearest_are_taken():
    candidates = torch.randn(20, 2, dtype=torch.float64) + 10
    originals = torch.randn(5, 2, dtype=torch.float64)
    outside = in_box(candidates, originals)
    assert not outside.any()
    everywhere = torch.ones(20, dtype=torch.bool)
    index, exists = filter_goals(candidates, everywhere, originals, 6, in_region=outside, scale=goal_scale(originals))
    assert exists.all()
    assert index.tolist() == oracles.hgf(candidates, originals, 6, oracles.density_scale(originals), None)


def test_the_first_goal_is_random_and_uniform_over_the_region():
    line = torch.arange(4.0).unsqueeze(-1)
    inside = torch.tensor([True, True, True, False])
    everywhere = torch.ones(4, dtype=torch.bool)
    starts = [
        filter_goals(line, everywhere, line[:3], 1, in_region=inside, scale=torch.ones(1))[0].item() for _ in range(900)
    ]
    counts = torch.bincount(torch.tensor(starts), minlength=4)
    assert counts[3] == 0 and (counts[:3] - 300).abs().max() < 75  # five standard deviations


def test_equal_candidates_are_one_goal_and_invalid_ones_none():
    candidates = torch.tensor([[0.0], [0.0], [1.0], [7.0]])
    valid = torch.tensor([True, True, True, False])
    index, exists = filter_goals(candidates, valid, candidates, 4, in_region=valid, scale=torch.ones(1))
    assert sorted(candidates[index[exists]].flatten().tolist()) == [0.0, 1.0]


def test_goals_nearer_than_the_resolution_are_one():
    line = torch.linspace(0, 1, 11, dtype=torch.float64).unsqueeze(-1)
    here = torch.ones(11, dtype=torch.bool)
    index, exists = filter_goals(line, here, line, 11, in_region=here, scale=torch.ones(1), resolution=0.25)
    chosen = line[index[exists]].flatten().sort().values
    assert chosen.diff().min() > 0.25


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), min_size=1, max_size=12))
def test_distinct_keeps_the_first_of_each_valid_candidate(rows):
    candidates = torch.tensor([[a, b] for a, b, _ in rows], dtype=torch.float64)
    valid = torch.tensor([v for *_, v in rows])
    expected, seen = [], set()
    for a, b, v in rows:
        expected.append(v and (a, b) not in seen)
        seen |= {(a, b)} if v else set()
    assert distinct(candidates, valid).tolist() == expected


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8), st.booleans())
def test_a_pair_ends_at_its_first_valid_success(steps, held):
    success, valid = (torch.tensor(column) for column in zip(*steps, strict=True))
    terminated, live = cut_at_first_success(success, valid, torch.tensor(held))
    over = held
    for t, (reached, exists) in enumerate(steps):
        assert live[t] == (exists and not over)
        assert terminated[t] == (exists and reached and not over)
        over = over or (exists and reached)


def test_a_ratio_enumerated_by_hand_on_three_steps():
    # pi(a|s,g') is 1/2, 1/4, 1 where pi(a|s,g) was 1/4, 1/2, 1/8: ratios 2, 1/2, 8 and products 2, 1, 8.
    log_ratio = torch.tensor([2.0, 0.5, 8.0], dtype=torch.float64).log()
    live = torch.ones(3, dtype=torch.bool)
    assert cumulative_log_ratio(log_ratio, live).exp().tolist() == pytest.approx([2.0, 1.0, 8.0])
    whole = cumulative_log_ratio(log_ratio, live, per_decision=False)
    assert whole.exp().tolist() == pytest.approx([8.0, 8.0, 8.0])


@pytest.mark.parametrize(
    ("window", "products"), [(1, [2.0, 0.5, 8.0]), (2, [2.0, 1.0, 4.0]), (3, [2.0, 1.0, 8.0]), (9, [2.0, 1.0, 8.0])]
)
def test_a_window_keeps_the_last_ratios(window, products):
    log_ratio = torch.tensor([2.0, 0.5, 8.0], dtype=torch.float64).log()
    found = cumulative_log_ratio(log_ratio, torch.ones(3, dtype=torch.bool), window=window)
    assert found.exp().tolist() == pytest.approx(products)


def test_a_window_forgets_an_impossible_action():
    log_ratio = torch.tensor([0.0, -torch.inf, 1.0, 2.0])
    found = cumulative_log_ratio(log_ratio, torch.ones(4, dtype=torch.bool), window=2)
    assert found.tolist() == [0.0, -torch.inf, -torch.inf, 3.0]


def test_dead_steps_do_not_enter_the_product():
    log_ratio = torch.tensor([1.0, torch.nan, torch.inf])
    live = torch.tensor([True, False, False])
    assert cumulative_log_ratio(log_ratio, live).tolist() == [1.0, 1.0, 1.0]


def test_weights_sum_to_one_for_each_goal_and_step_with_a_live_trajectory():
    total = torch.randn(3, 5, 4, dtype=torch.float64) * 50
    live = torch.rand(3, 5, 4) > 0.4
    live[0, :, 2] = False
    weights = trajectory_weights(total, live)
    assert torch.allclose(weights.sum(1), live.any(1).double(), atol=1e-12)
    assert not weights[~live].any()


def test_weights_are_finite_for_ratios_beyond_the_float_range():
    total = torch.tensor([[[2000.0], [1990.0]]])
    weights = trajectory_weights(total, torch.ones(1, 2, 1, dtype=torch.bool))
    assert weights.flatten().tolist() == pytest.approx([1 / (1 + math.exp(-10)), 1 / (1 + math.exp(10))])


def test_compiled_and_eager_agree():
    def weigh(success, log_ratio, held):
        terminated, live = cut_at_first_success(success, torch.ones_like(success), held)
        weights = trajectory_weights(cumulative_log_ratio(log_ratio, live), live)
        return terminated, live, last_steps(live), weights, effective_sample_size(weights)

    inputs = torch.rand(2, 3, 4) > 0.7, torch.randn(2, 3, 4), torch.rand(2, 3) > 0.8
    compiled = torch.compile(weigh, backend="eager", fullgraph=True)
    for ours, plain in zip(compiled(*inputs), weigh(*inputs), strict=True):
        assert torch.equal(ours, plain)


def test_filtering_compiles_without_a_graph_break():
    candidates, originals = torch.randn(20, 2), torch.randn(5, 2)
    valid, inside, scale = torch.ones(20, dtype=torch.bool), in_box(candidates, originals), goal_scale(originals)

    def choose():
        generator = torch.Generator().manual_seed(4)
        return filter_goals(candidates, valid, originals, 6, in_region=inside, scale=scale, generator=generator)

    compiled = torch.compile(filter_goals, backend="eager")
    expected = choose()
    out = compiled(
        candidates,
        valid,
        originals,
        6,
        in_region=inside,
        scale=scale,
        generator=torch.Generator().manual_seed(4),
    )
    assert torch.equal(out[0], expected[0]) and torch.equal(out[1], expected[1])


def test_weights_are_zero_where_every_ratio_is_zero():
    log_ratio = torch.tensor([[[0.0, 0.5], [-math.inf, -math.inf]]])
    live = torch.tensor([[[True, False], [True, True]]])
    assert torch.equal(trajectory_weights(log_ratio, live), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))


def test_nan_is_not_hidden():
    log_ratio, live = torch.tensor([[[math.nan], [0.0]]]), torch.ones(1, 2, 1, dtype=torch.bool)
    assert trajectory_weights(log_ratio, live).isnan().all()


def test_the_nearest_goals_are_found_far_from_the_origin():
    far = 1000 * torch.tensor([[2.0, 2.0]])  # of 30 candidates on a ring, one is next to the goal
    angle = torch.arange(30) / 5
    candidates = far + (1 + angle.unsqueeze(-1) / 10) * torch.stack((angle.cos(), angle.sin()), -1)
    candidates[17] = far + 0.01
    nobody = torch.zeros(30, dtype=torch.bool)
    index, _ = filter_goals(candidates, ~nobody, far.expand(30, 2), 1, in_region=nobody, scale=torch.ones(2))
    assert index.item() == 17
