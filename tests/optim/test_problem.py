"""A problem is frozen data: pieces that add up."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.optim.problem import TrustRegionProblem


def test_a_problem_keeps_its_pieces_and_cannot_be_changed():
    problem = TrustRegionProblem([lambda p: (p["x"].sum(), p["x"].square().sum())])
    assert problem.residuals == () and problem.terms[0](TensorDict(x=torch.full((2,), 3.0))) == (6.0, 18.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.terms = []
