"""Divergences and advantages on numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.objectives.functional import qkl, sampled_kl, td_from_targets


def test_qkl_is_half_the_square_and_never_negative():
    log_ratio = torch.tensor([0.0, 0.5, -2.0])
    assert qkl(log_ratio).tolist() == pytest.approx([0.0, 0.125, 2.0])


def test_the_sampled_kl_is_what_was_less_what_is():
    assert sampled_kl(torch.tensor([0.5, -2.0])).tolist() == [-0.5, 2.0]


def test_nothing_follows_a_termination():
    reward, value, after = torch.tensor([1.0, 1.0]), torch.tensor([0.25, 0.25]), torch.tensor([2.0, torch.nan])
    assert td_from_targets(reward, value, after, torch.tensor([False, True]), 0.5).tolist() == [1.75, 0.75]
