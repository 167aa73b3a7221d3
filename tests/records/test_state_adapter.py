"""State dictionaries are restored bit for bit and contain no code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from torchrl.checkpoint import GlobalRNGState

from torchrl_htrpo.records.state_adapter import TENSORS, TREE, StateAdapter

NOTHING = {"args": (), "kwargs": {}}
STATE = {
    "dtypes": [torch.arange(3).to(dtype) for dtype in (torch.float64, torch.bfloat16, torch.uint8, torch.bool)],
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(float("nan")),
    "strided": torch.arange(6.0).reshape(2, 3).T,
    "numbers": (1, 2.5, float("inf"), True, None, "text"),
    "state": {0: {"step": torch.tensor(1)}, 1: {}},
    "shape": torch.Size([2, 3]),
}


class Holder:
    """A component that is its state."""

    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def through(state: object, folder: Path) -> object:
    holder = Holder()
    StateAdapter().save(Holder(state), folder, **NOTHING)
    StateAdapter().load(holder, folder, map_location=None, tensor_load_kwargs={}, **NOTHING)
    return holder.state


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        equal = one.dtype == other.dtype and one.shape == other.shape
        return equal and one.contiguous().numpy(force=True).tobytes() == other.numpy(force=True).tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("key", [key for key in STATE if key != "dtypes"])
def test_a_state_comes_back_bit_for_bit(key, tmp_path):
    assert same(STATE[key], through({"value": STATE[key]}, tmp_path)["value"])


def test_dtypes_come_back(tmp_path):
    back = through({"value": STATE["dtypes"]}, tmp_path)["value"]
    pairs = list(zip(STATE["dtypes"], back, strict=True))
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in pairs)


def test_tuples_stay_tuples_and_integer_keys_integers(tmp_path):
    back = through(STATE, tmp_path)
    assert isinstance(back["numbers"], tuple) and list(back["state"]) == [0, 1]


def test_tensors_that_share_memory_are_saved_apart(tmp_path):
    tensor = torch.arange(4.0)
    back = through({"whole": tensor, "part": tensor[:2], "again": tensor}, tmp_path)
    back["whole"].zero_()
    assert back["again"].tolist() == [0, 1, 2, 3] and back["part"].tolist() == [0, 1]


def test_the_state_of_generators_is_restored(tmp_path):
    StateAdapter().save(GlobalRNGState(), tmp_path, **NOTHING)
    expected = torch.rand(3)
    StateAdapter().load(GlobalRNGState(), tmp_path, map_location=None, tensor_load_kwargs={}, **NOTHING)
    assert torch.equal(torch.rand(3), expected)


def test_reading_changes_no_byte_even_of_a_cut_file(tmp_path):
    StateAdapter().save(Holder({"weight": torch.ones(100)}), tmp_path, **NOTHING)
    file = tmp_path / TENSORS
    for size in (0, 8, file.stat().st_size - 1):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(Exception, match=r"(?i)header|incomplete|invalid"):
            StateAdapter().load(Holder(), tmp_path, map_location=None, tensor_load_kwargs={}, **NOTHING)
        assert file.stat().st_size == size
        StateAdapter().save(Holder({"weight": torch.ones(100)}), tmp_path, **NOTHING)


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, {(1, 2): 0}, torch.float32])
def test_what_the_format_cannot_hold_is_refused(value, tmp_path):
    with pytest.raises(TypeError, match="StateAdapter: "):
        StateAdapter().save(Holder({"value": value}), tmp_path, **NOTHING)


def test_paths_that_collide_are_refused(tmp_path):
    with pytest.raises(TypeError, match="distinct paths"):
        StateAdapter().save(Holder({"a/b": torch.ones(1), "a": {"b": torch.ones(1)}}), tmp_path, **NOTHING)


@pytest.mark.parametrize("tree", [{"call": "os.system"}, {"tensor": "x", "list": []}, {"_type": "x"}, {}])
def test_an_unknown_node_is_an_error(tree, tmp_path):
    StateAdapter().save(Holder({}), tmp_path, **NOTHING)
    (tmp_path / TREE).write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=r"StateAdapter|unpack"):
        StateAdapter().load(Holder(), tmp_path, map_location=None, tensor_load_kwargs={}, **NOTHING)


def test_a_pickle_in_the_place_of_the_tensors_is_not_read_as_one(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    StateAdapter().save(Holder({"weight": torch.ones(1)}), tmp_path, **NOTHING)
    for name in (TENSORS, TREE):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(Exception):  # noqa: B017, PT011  (of whichever reader)
            StateAdapter().load(Holder(), tmp_path, map_location=None, tensor_load_kwargs={}, **NOTHING)
        (tmp_path / name).write_bytes(kept)
    assert not (tmp_path / "touched").exists()
