"""Every component that a configuration can name exists, takes these arguments, and may be loaded from a run."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass

import pytest
from hydra.utils import get_object

from torchrl_htrpo.recipes.settings import components
from torchrl_htrpo.records.trusted import TARGETS

CLASSES = [
    made for made in vars(components).values() if is_dataclass(made) and getattr(made, "_target_", "").count(".") > 1
]


@pytest.mark.parametrize("component", CLASSES, ids=lambda made: made.__name__)
def test_it_exists_and_takes_every_key(component):
    if component._target_.startswith("hydra.utils"):
        return
    assert component._target_ in TARGETS
    taken = inspect.signature(get_object(component._target_)).parameters
    keys = {field.name for field in fields(component) if not field.name.startswith("_")}
    assert keys <= taken.keys() or any(one.kind is one.VAR_KEYWORD for one in taken.values())
