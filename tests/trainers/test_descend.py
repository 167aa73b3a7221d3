"""A gradient step on a loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torchrl_htrpo.trainers import descend


def test_a_gradient_that_is_not_finite_stops_before_the_parameters():
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(RuntimeError, match="descend: gradients must be finite"):
        descend(torch.optim.SGD([weight], lr=1.0), (weight * torch.nan).sum())
    assert torch.equal(weight, torch.ones(2))
