"""ShareStates: every index refers to the picture that it replaced; padding has none."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from tests.cases import actor_with, bitwise_equal, trajectories
from torchrl_htrpo.hindsight import ShareStates
from torchrl_htrpo.modules import PixelGoalEncoder

SHAPE = (1, 3, 3)


def batch_of_pictures(lengths=None, key="observation"):
    """Trajectories ``[4, 5]`` in which every state is a picture of its own."""
    batch = trajectories(lengths=lengths)
    states = torch.arange(4 * 6 * 9, dtype=torch.float32).reshape(4, 6, *SHAPE)
    batch.set(key, states[:, :-1].clone())
    batch["next"].set(key, states[:, 1:].clone())
    return batch


def encoder():
    return PixelGoalEncoder(nn.Flatten(), SHAPE, 2)


@pytest.mark.parametrize("lengths", [None, (5, 2, 3, 1)], ids=["whole", "ragged"])
def test_numbers_stand_for_the_pictures_they_replace_once_each(lengths):
    batch, net = batch_of_pictures(lengths), encoder()
    before = batch.clone()
    out = ShareStates(net)(batch)
    mask = batch.get(("collector", "mask"), default=torch.ones(4, 5, dtype=torch.bool))
    for key in ("observation", ("next", "observation")):
        assert out[key].dtype == torch.int64 and out[key].shape == (4, 5)
        assert torch.equal(net.states[out[key]][mask], batch[key][mask])
    steps = lengths or [5] * 4
    assert len(net.states) == sum(steps) + 4 == len(net.states.unique(dim=0))
    assert bitwise_equal(batch, before)


def test_a_row_with_several_episodes_keeps_each_of_their_last_states():
    batch, net = batch_of_pictures(), encoder()
    batch["next", "done"][1, 2] = True
    batch["next", "observation"][1, 2] = -1.0  # the state after the end; what follows begins elsewhere
    out = ShareStates(net)(batch)
    assert torch.equal(net.states[out["next", "observation"]], batch["next", "observation"])
    assert torch.equal(net.states[out["observation"]], batch["observation"])


def test_all_encoders_of_all_networks_see_the_same_states():
    one, other = encoder(), nn.ModuleList([nn.Linear(2, 2), encoder()])
    ShareStates(one, other)(batch_of_pictures())
    assert one.states is other[1].states


def test_nested_keys_are_followed():
    batch, net = batch_of_pictures(key=("camera", "left")), encoder()
    out = ShareStates(net, observation=("camera", "left"))(batch)
    assert torch.equal(net.states[out["next", "camera", "left"]], batch["next", "camera", "left"])


def test_networks_without_pictures_leave_a_batch_alone():
    batch = trajectories()
    assert ShareStates(actor_with("gaussian"))(batch) is batch


def test_a_missing_entry_is_named():
    with pytest.raises(KeyError, match=r"ShareStates: input must be a tensordict with the key 'observation'"):
        ShareStates(encoder())(TensorDict(batch_size=[2, 3]))
