"""Errors of the engines."""

from __future__ import annotations

import pytest

pytest.importorskip("mujoco")

from torchrl_htrpo.envs.fetch.engine import DivergedError


def test_a_divergence_names_its_worlds_or_says_what_it_is_told():
    plain, told = DivergedError([2, 5]), DivergedError([1], "world 1 at step 3")
    assert plain.worlds == [2, 5] and str(plain) == "physics diverged in worlds [2, 5]"
    assert told.worlds == [1] and str(told) == "world 1 at step 3"
    assert isinstance(plain, RuntimeError)
