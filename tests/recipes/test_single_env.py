"""The environment in which a policy is evaluated or drawn."""

from __future__ import annotations

import pytest

from torchrl_htrpo.evaluation.video import check_drawable
from torchrl_htrpo.recipes.single_env import make_env


def test_it_is_one_environment_in_this_process(configured):
    env = make_env(configured("htrpo_bitflip"), seed=0)
    assert env.batch_size.numel() == 1 and make_env(configured("htrpo_bitflip"), 0, num_envs=3).batch_size.numel() == 3


def test_an_environment_of_gymnasium_can_be_drawn(configured, monkeypatch):
    pytest.importorskip("gymnasium_robotics")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    cfg = configured("htrpo_fetch", "env.name=PointMaze_UMaze-v3", "env.num_workers=2")
    env = make_env(cfg, seed=0, draw=True)
    check_drawable("test", env)
    env.close()
    with pytest.raises(RuntimeError, match="rgb_array"):
        check_drawable("test", make_env(cfg, seed=0))
