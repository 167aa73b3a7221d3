"""Every component that a configuration can name exists, takes these arguments, and may be loaded from a run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf, ValidationError

from torchrl_htrpo.recipes.settings import groups
from torchrl_htrpo.recipes.settings.components import component
from torchrl_htrpo.recipes.settings.runs import GoalTask
from torchrl_htrpo.records.trusted import TARGETS


def found_in(value: object) -> Iterator[object]:
    """The components in a table of choices, and their parts."""
    if isinstance(value, dict):
        for one in value.values():
            yield from found_in(one)
    elif is_dataclass(value):
        yield value
        for field in fields(value):
            yield from found_in(field.type)


CLASSES = [one for table in vars(groups).values() if isinstance(table, dict) for one in found_in(table)]
CLASSES = [one for one in [GoalTask, *CLASSES] if hasattr(one, "_target_")]


def test_components_are_found():
    assert len(CLASSES) > 30


@pytest.mark.parametrize("made", CLASSES, ids=lambda made: made._target_)
def test_it_exists_and_takes_every_key(made):
    if made._target_.startswith("hydra.utils"):
        return
    assert made._target_ in TARGETS
    taken = inspect.signature(get_object(made._target_)).parameters
    keys = {field.name for field in fields(made) if not field.name.startswith("_")}
    assert keys <= taken.keys() or any(one.kind is one.VAR_KEYWORD for one in taken.values())


@pytest.mark.parametrize(
    ("key", "wrong"), [("damping", "much"), ("damping_mode", "none"), ("max_divergence", True), ("search", 3)]
)
def test_the_types_are_those_of_the_constructor(key, wrong):
    search = component("optim.BacktrackingLineSearch", "max_trials", partial=False)
    made = component("optim.TrustRegionOptimizer", "damping damping_mode", max_divergence=1.0, search=search)
    with pytest.raises(ValidationError):
        OmegaConf.update(OmegaConf.structured(made), key, wrong)
