"""GoalMemory: the last state of the cell under the goal of its row, with forward derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp

from torchrl_htrpo.modules import GoalMemory, GoalNormalizer

every_cell = pytest.mark.parametrize("cell", ["gru", "lstm"])


@every_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_torchs_own_cell_over_observations_and_goal(cell, dtype):
    memory = GoalMemory(3, 2, 4, cell).to(dtype)
    fused = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](5, 4, batch_first=True).to(dtype)
    fused.load_state_dict(memory.cell.state_dict())
    history, goal = torch.randn(6, 7, 3, dtype=dtype), torch.randn(6, 2, dtype=dtype)
    inputs = torch.cat((history, goal.unsqueeze(1).expand(6, 7, 2)), -1)
    out = memory(history, goal)
    assert out.shape == (6, memory.size) and out.dtype == dtype
    assert torch.allclose(out[:, :4], fused(inputs)[0][:, -1], atol=1e-6)
    assert torch.equal(out[:, 4:], inputs[:, -1])


@every_cell
def test_any_leading_shape_expanded_or_not(cell):
    memory = GoalMemory(3, 2, 4, cell)
    history, goal = torch.randn(2, 5, 3), torch.randn(6, 1, 2)
    many = memory(history.expand(6, 2, 5, 3), goal.expand(6, 2, 2))
    assert many.shape == (6, 2, 9)
    assert torch.allclose(many[3, 1], memory(history[1], goal[3, 0]), atol=1e-6)
    assert memory(history[0], goal[0, 0]).shape == (9,)


def test_history_and_goal_both_count_and_are_normalised():
    normalizer = GoalNormalizer(3, 2)
    memory = GoalMemory(3, 2, 4, normalizer=normalizer)
    history, goal = torch.randn(1, 5, 3), torch.randn(1, 2)
    plain = memory(history, goal)
    assert not torch.equal(plain, memory(history, goal + 1)) and not torch.equal(plain, memory(history + 1, goal))
    earlier = history.clone()
    earlier[:, 0] += 1
    assert not torch.equal(plain[:, :4], memory(earlier, goal)[:, :4])
    normalizer.update(5 * torch.randn(100, 3), torch.randn(100, 2))
    assert not torch.equal(plain, memory(history, goal))


@every_cell
def test_forward_derivatives_are_those_of_differences(cell):
    memory = GoalMemory(3, 2, 4, cell).double()
    history, goal = torch.randn(6, 7, 3).double(), torch.randn(6, 2).double()
    params = {name: leaf.detach() for name, leaf in memory.named_parameters()}
    vector = {name: torch.randn_like(leaf) for name, leaf in params.items()}

    def out(step):
        return functional_call(memory, {n: leaf + step * vector[n] for n, leaf in params.items()}, (history, goal))

    _, slope = jvp(lambda p: functional_call(memory, p, (history, goal)), (params,), (vector,))
    assert torch.allclose(slope, (out(1e-6) - out(-1e-6)) / 2e-6, atol=1e-7)


def test_torchs_fused_lstm_has_no_forward_derivatives_on_the_cpu():
    """The reason for TorchRL's cells: when this fails, the fused ones can be used."""
    fused, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)
    params = {name: leaf.detach() for name, leaf in fused.named_parameters()}
    with pytest.raises(NotImplementedError, match="forward AD"):
        jvp(lambda p: functional_call(fused, p, (x,))[0], (params,), (params,))


def test_an_unknown_cell_is_refused():
    with pytest.raises(ValueError, match=r"GoalMemory: cell must be .* got 'rnn' \(choices: 'gru', 'lstm'\)"):
        GoalMemory(3, 2, cell="rnn")
