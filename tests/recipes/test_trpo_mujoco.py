"""TRPO on an ordinary task: every divergence steps, and the step stays in its trust region."""

from __future__ import annotations

import pytest

from tests.recipes.runs import run
from torchrl_htrpo.evaluation import read_table

TINY = ("env=InvertedPendulum-v5", "num_envs=2", "batch_steps=200", "total_steps=600", "hidden_sizes=[16]")


@pytest.mark.slow
@pytest.mark.parametrize("divergence", ["qkl", "kl", "sampled_kl"])
def test_a_run_through_the_command_line(divergence, tmp_path):
    pytest.importorskip("mujoco")
    done = run("trpo_mujoco", *TINY, f"divergence={divergence}", "hydra.run.dir=made", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("RESULT return=")

    table = read_table(tmp_path / "made" / "metrics.csv")
    assert len(table["step/divergence"]) == 3
    assert all(value <= 0.015 for _, value in table["step/divergence"])
    assert len(table["train/episode_return"]) == 3
    assert (tmp_path / "made" / "learning_curve.png").stat().st_size > 1000
