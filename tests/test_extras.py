"""A missing optional dependency is named with the extra that installs it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import torchrl_htrpo
from torchrl_htrpo import make_goal_env
from torchrl_htrpo._extras import EXTRAS, named_extra
from torchrl_htrpo.recipes import trpo
from torchrl_htrpo.records import Run
from torchrl_htrpo.records.loggers import check_backend


@pytest.fixture
def without(monkeypatch):
    """Make a module and its parts impossible to import, and forget who has imported them."""

    def hide(module, *users):
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)
        for user in users:
            monkeypatch.delitem(sys.modules, user, raising=False)

    return hide


def test_the_extra_of_a_task_is_named(without):
    without("mujoco", *[name for name in sys.modules if ".envs.fetch" in name])
    with pytest.raises(ModuleNotFoundError, match=r"'reach'\) needs mujoco: pip install 'torchrl-htrpo\[robotics\]'"):
        make_goal_env("reach")


def test_the_extra_of_a_class_is_named(without):
    without("ale_py", *[m for m in sys.modules if "pacman" in m])
    with pytest.raises(ModuleNotFoundError, match=r"MsPacmanEnv needs ale_py: pip install 'torchrl-htrpo\[atari\]'"):
        _ = torchrl_htrpo.MsPacmanEnv


@pytest.mark.parametrize(
    ("missing", "backend", "video", "extra"),
    [
        ("tensorboard", "tensorboard", False, "tensorboard"),
        ("wandb", "wandb", False, "wandb"),
        ("moviepy", "tensorboard", True, "video"),
    ],
)
def test_the_extra_of_a_logger_is_named_before_anything_is_made(missing, backend, video, extra, without, tmp_path):
    pytest.importorskip(backend)
    without(missing)
    with pytest.raises(ModuleNotFoundError, match=rf"logger={backend}.*pip install 'torchrl-htrpo\[{extra}\]'"):
        check_backend("Run", backend, video=video)
    if not video:
        with pytest.raises(ModuleNotFoundError, match=f"pip install.*{extra}"):
            Run(tmp_path / "run", 10, name="run", components={}, backend=backend)
    assert not (tmp_path / "run").exists()


def test_the_extra_of_an_ordinary_task_is_named(without):
    without("gymnasium")
    cfg = OmegaConf.create({"env": "Hopper-v5", "num_envs": 1, "seed": 0})
    with pytest.raises(ModuleNotFoundError, match=r"env=Hopper-v5 needs gymnasium: pip install 'torchrl-htrpo\[rob"):
        trpo.make_env(cfg)


def test_another_missing_module_is_left_as_it_is():
    with pytest.raises(ModuleNotFoundError, match="No module named 'somebody'"), named_extra("x"):
        raise ModuleNotFoundError("No module named 'somebody'", name="somebody")


def test_every_extra_exists():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
