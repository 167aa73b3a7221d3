"""Agents refuse actions that they cannot take."""

from __future__ import annotations

import pytest

from torchrl_htrpo import BitFlipEnv, DetourEnv
from torchrl_htrpo.recipes.agents import make_ddpg, make_dqn


def test_dqn_needs_discrete_actions():
    with pytest.raises(ValueError, match=r"(?s)agent=dqn: .*agent=ddpg"):
        make_dqn(DetourEnv(), 4, [8], "cpu", epsilon=0.1)


def test_ddpg_needs_continuous_actions():
    with pytest.raises(ValueError, match=r"(?s)agent=ddpg: .*agent=dqn"):
        make_ddpg(BitFlipEnv(4), 8, [8], "cpu", epsilon=0.1, sigma=0.1, action_cost=1.0)
