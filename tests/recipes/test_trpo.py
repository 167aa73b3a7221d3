"""TRPO on an ordinary task: every divergence steps within its trust region, and a run resumes."""

from __future__ import annotations

import pytest

from tests.recipes.runs import assert_same, metrics, run, state
from torchrl_htrpo.recipes.trpo import train
from torchrl_htrpo.records import read_table

TINY = ("env=InvertedPendulum-v5", "num_envs=2", "batch_steps=200", "total_steps=600", "hidden_sizes=[16]")


@pytest.fixture
def trained(configured):
    """Train inside the test; give the last line."""
    pytest.importorskip("mujoco")
    return lambda *overrides, directory: train(configured("trpo", *TINY, *overrides, directory=directory))


@pytest.mark.parametrize("divergence", ["qkl", "kl", "sampled_kl"])
def test_every_divergence_steps_within_its_trust_region(divergence, trained, tmp_path):
    assert trained(f"divergence={divergence}", directory=tmp_path).startswith("RESULT return=")
    table = read_table(tmp_path / "metrics.csv")
    assert len(table["step/divergence"]) == 3
    assert all(value <= 0.015 for _, value in table["step/divergence"])
    assert all(accepted for _, accepted in table["step/accepted"]) or divergence == "sampled_kl"
    assert len(table["train/episode_return"]) == 3
    assert (tmp_path / "learning_curve.png").stat().st_size > 1000


@pytest.mark.parametrize("policy", [("head=gmm",), ("head=tanh_normal",), ("head=one_hot", "env=CartPole-v1")])
def test_any_policy_can_be_used(policy, trained, tmp_path):
    assert trained(*policy, directory=tmp_path).startswith("RESULT return=")
    assert any(accepted for _, accepted in read_table(tmp_path / "metrics.csv")["step/accepted"])


@pytest.mark.slow
def test_a_run_through_the_command_line(tmp_path):
    pytest.importorskip("mujoco")
    done = run("trpo", *TINY, "total_steps=200", "hydra.run.dir=made", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("RESULT return=")
    examined = run("evaluate", "run=made", folder=tmp_path)
    assert examined.returncode and "run must be one of the HTRPO or HER recipe" in examined.stderr


def test_a_run_in_which_no_episode_ends_goes_on_and_ends(trained, tmp_path):
    endless = ("env=HalfCheetah-v5", "reset_each_batch=true")
    trained(*endless, "total_steps=200", directory=tmp_path)
    assert trained(*endless, f"resume={tmp_path}", directory=tmp_path / "unused").startswith(
        "RESULT return=nan env_steps=600"
    )


def test_resuming_a_finished_run_reports_its_return(trained, tmp_path):
    line = trained(directory=tmp_path)
    again = trained(f"resume={tmp_path}", directory=tmp_path / "unused")
    assert again.split()[:3] == line.split()[:3] and "nan" not in line


def test_a_resumed_run_is_bit_equal_if_batches_begin_new_episodes(trained, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    trained("reset_each_batch=true", directory=whole)
    trained("reset_each_batch=true", "total_steps=200", directory=half)
    trained("reset_each_batch=true", f"resume={half}", directory=tmp_path)
    assert len(metrics(whole)["critic/loss"]) == 3
    assert_same(whole, half)


def test_a_resumed_run_begins_new_episodes_otherwise(trained, tmp_path):
    trained("total_steps=200", directory=tmp_path)
    before = state(tmp_path)
    trained(f"resume={tmp_path}", directory=tmp_path / "unused")
    assert [step for step, _ in metrics(tmp_path)["critic/loss"]] == [200, 400, 600] and state(tmp_path) != before
    with pytest.raises(ValueError, match=r"config.gamma: 0.99 there, 0.5 here"):
        trained("gamma=0.5", f"resume={tmp_path}", directory=tmp_path)


def test_a_critic_that_diverges_stops_the_run(trained, tmp_path):
    with pytest.raises((RuntimeError, ValueError), match="non-finite|must be finite"):
        trained("critic.lr=1e30", "total_steps=2000", directory=tmp_path)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("max_divergence=-1", "max_divergence must be above 0, got -1"),
        ("critic.epochs=0", "epochs must be at least 1, got 0"),
        ("batch_steps=201", "batch_steps must be a multiple of num_envs = 2, got 201"),
        ("head.init_scale=0", "init_scale must be positive, got 0"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_work(override, said, trained, tmp_path):
    with pytest.raises(ValueError, match=said):
        trained(override, directory=tmp_path)
    assert not list(tmp_path.iterdir())
