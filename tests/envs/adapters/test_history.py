"""Histories: the last observations of the present episode."""

from __future__ import annotations

import pytest
import torch
from torchrl.envs import check_env_specs

from torchrl_htrpo.envs import HiddenGapEnv, with_history


def test_the_history_is_the_present_episode_so_far():
    env = with_history(HiddenGapEnv(3, horizon=5, seed=0), 4)
    check_env_specs(env, break_when_any_done="both")
    batch = env.rollout(12, break_when_any_done=False)
    seen, history = batch["observation"], batch["history"]
    for step in range(12):
        past = seen[:, step - min(step % 5, 3) : step + 1]
        expected = torch.cat((torch.zeros(3, 4 - past.shape[1], 2), past), 1)
        assert torch.equal(history[:, step], expected)
    after = batch["next", "history"]
    assert torch.equal(after[:, :4, :-1], history[:, :4, 1:]) and torch.equal(
        after[:, :, -1], batch["next", "observation"]
    )


def test_a_history_has_at_least_one_step():
    with pytest.raises(ValueError, match="with_history: steps must be a positive integer, got 0"):
        with_history(HiddenGapEnv(1), 0)
