"""Range checks refuse by name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import BooleanNode, OmegaConf

from torchrl_htrpo.recipes.settings.checks import name_of, require_booleans, require_that, within


@dataclass
class Sizes:
    size: object
    name: str = "run"


@given(st.floats(-5, 5), st.floats(0, 9), st.booleans(), st.floats())
def test_numbers_outside_the_range_are_refused(low, width, above, value):
    inside = (low < value if above else low <= value) and value <= low + width
    if inside:
        within(Sizes(value), low, low + width, "size", above=above)
    else:
        with pytest.raises(ValueError, match="run: size must be"):
            within(Sizes(value), low, low + width, "size", above=above)


def test_none_passes_and_each_entry_of_a_list_is_checked():
    within(Sizes(None), 0, 1, "size")
    within(Sizes([0, 1]), 0, 1, "size")
    with pytest.raises(ValueError, match=r"size must be at least 0 and at most 1, got \[0, 2\]"):
        within(Sizes([0, 2]), 0, 1, "size")


def test_what_does_not_fit_is_named():
    require_that(Sizes(4), True, "size", "even")
    with pytest.raises(ValueError, match="run: size must be even, got 3"):
        require_that(Sizes(3), False, "size", "even")


def test_a_part_without_a_name_has_that_of_its_class():
    assert name_of(Sizes(1)) == "run" and name_of(3) == "int"


@pytest.mark.parametrize("value", [0, 1, 2, 1.0, "yes", "true", None, [True]])
def test_a_switch_is_a_boolean_at_any_depth(value):
    typed = OmegaConf.create({"draw": BooleanNode(True), "head": {"bound": BooleanNode(True), "size": 2}})
    require_booleans("run", typed, {"draw": False, "head.bound": True, "head.size": 2, "nothing.here": 2})
    require_booleans("run", typed, {"draw": "${head.bound}"})
    for key in ("draw", "head.bound"):
        with pytest.raises(ValueError, match=f"run: {key} must be true or false"):
            require_booleans("run", typed, {key: value})
