"""Doctests of modules whose optional dependency is missing are not collected; any other failing import is an error."""

from __future__ import annotations

from importlib.util import find_spec

PHYSICS = "torchrl_htrpo/envs/fetch"
collect_ignore_glob = [] if find_spec("mujoco_warp") else [f"{PHYSICS}/warp_*.py"]
if not find_spec("mujoco"):
    collect_ignore_glob += [f"{PHYSICS}/*.py", "torchrl_htrpo/envs/fetch/env.py"]
if not find_spec("ale_py"):
    collect_ignore_glob += ["torchrl_htrpo/envs/ms_pacman/env.py", "torchrl_htrpo/envs/ms_pacman/game.py"]
