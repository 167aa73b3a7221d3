"""The weighted mean of advantages over trajectories is taken away, for each goal and step."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.objectives import CenterAdvantage


def batch_of(advantage: torch.Tensor, weight: torch.Tensor) -> TensorDict:
    return TensorDict(advantage=advantage.unsqueeze(-1), hindsight={"weight": weight}, batch_size=weight.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 2, 2, 5)])
def test_each_goal_and_step_loses_its_weighted_mean(shape, dtype):
    advantage, weight = torch.randn(shape, dtype=dtype), torch.rand(shape, dtype=dtype)
    batch = batch_of(advantage, weight)
    found = CenterAdvantage()(batch)["advantage"].squeeze(-1)
    for goal in range(shape[0]):
        for step in range(shape[-1]):
            a, w = advantage[goal, ..., step].double(), weight[goal, ..., step].double()
            expected = a - (a * w).sum() / w.sum()
            assert torch.allclose(found[goal, ..., step].double(), expected, atol=1e-5)
    assert torch.equal(batch["advantage"].squeeze(-1), advantage)


def test_a_step_without_weight_stays_as_it_is():
    advantage = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    found = CenterAdvantage()(batch_of(advantage, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])))
    assert found["advantage"].flatten().tolist() == [-1.0, 2.0, 1.0, 4.0]


def test_a_constant_added_to_all_advantages_changes_nothing():
    advantage, weight = torch.randn(2, 6, 3, dtype=torch.float64), torch.rand(2, 6, 3, dtype=torch.float64)
    one, other = (CenterAdvantage()(batch_of(advantage + level, weight))["advantage"] for level in (0.0, 7.0))
    assert torch.allclose(one, other)


def test_a_missing_weight_is_named():
    with pytest.raises(KeyError, match=r"CenterAdvantage: input must be a tensordict with the key \('hindsight'"):
        CenterAdvantage()(TensorDict(advantage=torch.zeros(1, 2, 3, 1), batch_size=[1, 2, 3]))
