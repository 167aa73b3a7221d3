"""Engines are chosen by name."""

from __future__ import annotations

import pytest

from torchrl_htrpo.envs.fetch.engines import make_engine
from torchrl_htrpo.envs.fetch.mujoco_engine import MujocoEngine


def test_mujoco_by_name():
    engine = make_engine("mujoco", "reach", 3, num_threads=2)
    assert isinstance(engine, MujocoEngine) and (engine.num_worlds, engine.num_threads) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mujoco", "fly", 1), "task .*'fly'.*choices: 'reach'"),
        (("mujoco", "reach", 0), "num_envs"),
        (("mjx", "reach", 1), "engine .*'mjx'.*choices: 'mujoco', 'warp'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_engine(*arguments)
