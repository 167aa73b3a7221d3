"""The mask of a batch of trajectories."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo.batch.mask import MASK_KEY, beyond_end, last_steps, validity


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 1, 3)])
def test_every_step_is_valid_without_a_mask(shape):
    batch = TensorDict(x=torch.zeros(*shape, 2), batch_size=shape)
    assert validity(batch).all()
    assert validity(batch).shape == shape


@pytest.mark.parametrize("extra", [(), (1,)])
def test_the_mask_is_taken_with_or_without_a_last_dimension(extra):
    mask = torch.tensor([[True, False], [True, True]])
    batch = TensorDict(batch_size=[2, 2]).set(MASK_KEY, mask.reshape(2, 2, *extra))
    assert torch.equal(validity(batch), mask)


def test_steps_after_the_first_end_are_marked():
    done = torch.tensor([[False, True, False, True], [False, False, False, True]])
    after = torch.tensor([[False, False, True, True], [False, False, False, False]])
    assert torch.equal(beyond_end(done), after)


def test_the_last_live_step_of_each_row_is_marked():
    live = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    last = torch.tensor([[False, True, False], [False, False, True], [False, False, False]])
    assert torch.equal(last_steps(live), last)
