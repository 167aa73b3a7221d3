"""Error messages have one form."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from torchrl_htrpo._errors import refusal, require


class Thing:
    """An owner of errors."""


def test_a_refusal_names_who_what_expected_got_and_choices():
    assert refusal(Thing(), "size", "positive", -1) == "Thing: size must be positive, got -1"
    assert (
        refusal("Other", "mode", "known", "c", ("a", "b")) == "Other: mode must be known, got 'c' (choices: 'a', 'b')"
    )


def test_what_is_required_is_fetched_or_named_with_what_is_there():
    there = TensorDict(x=torch.ones(2), y=TensorDict(z=torch.zeros(2)))
    assert [value.tolist() for value in require(Thing(), there, "x", ("y", "z"))] == [[1, 1], [0, 0]]
    with pytest.raises(KeyError, match=r"Thing: input must be a tensordict with the key 'w', got none \(there: 'x', "):
        require(Thing(), there, "x", "w")
