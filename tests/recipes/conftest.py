"""Recipes, run inside the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tests.recipes.runs import CONF, NAMED, TINY
from torchrl_htrpo.recipes.command import register_tasks
from torchrl_htrpo.recipes.htrpo import train


@pytest.fixture
def configured() -> Callable[..., DictConfig]:
    """A tiny configuration of a recipe, with overrides; the run's folder is ``directory``."""

    def make(name: str, *overrides: str, directory: Path | str = "unused", tiny: bool = True) -> DictConfig:
        recipe, *task = NAMED.get(name, (name,))
        register_tasks()
        every = [*task, *(TINY.get(name, ()) if tiny else ()), *overrides, f"hydra.run.dir={directory}"]
        with initialize_config_dir(str(CONF / recipe), version_base="1.3"):
            cfg = compose(recipe, [*every, f"hydra.runtime.output_dir={directory}"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])

    return make


@pytest.fixture
def trained(configured) -> Callable[..., str]:
    """Train inside the test; give the last line."""

    def make(name: str, *overrides: str, directory: Path) -> str:
        return train(configured(name, *overrides, directory=directory))

    return make
