"""The recipes of hindsight experience replay: every choice runs, a run resumes bit for bit, and one learns."""

from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate

from tests.recipes.runs import EXAM, assert_same, run
from tests.recipes.test_htrpo import figures
from torchrl_htrpo.recipes import her
from torchrl_htrpo.recipes.settings import groups
from torchrl_htrpo.records import read_table

SMALL = ("num_envs=4", "hidden_sizes=[8]", "batch_size=16", "replay_episodes=4", "num_goals=3", *EXAM)
TINY = {
    "her_bitflip": ("env.num_bits=4", "target_success=null", "save_every=2", *SMALL),
    "her_detour": ("horizon=5", "eval_every=1", "save_every=2", *SMALL),
    "her_fetch": ("horizon=5", "env.num_threads=1", "target_every=3", "save_every=2", *SMALL),
}
STEPS = {"her_bitflip": 16, "her_detour": 20, "her_fetch": 20}  # of an iteration


@pytest.fixture(params=TINY)
def recipe(request) -> str:
    if request.param == "her_fetch":
        pytest.importorskip("mujoco")
    return request.param


@pytest.fixture
def trained(configured):
    def make(name, iterations, *overrides, directory, tiny=True):
        small = (*TINY[name], f"total_steps={iterations * STEPS[name]}") if tiny else ()
        return her.train(configured(name, *small, *overrides, directory=directory, tiny=False))

    return make


@pytest.mark.slow
def test_a_run_and_its_evaluation_through_the_command_line(recipe, tmp_path):
    total = f"total_steps={2 * STEPS[recipe]}"
    done = run(recipe, *TINY[recipe], total, "hydra.run.dir=made", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert figures(done.stdout.splitlines()[-1])["env_steps"] == str(2 * STEPS[recipe])
    assert len(read_table(tmp_path / "made" / "metrics.csv")["eval/success"]) == 2
    if recipe != "her_fetch":
        return
    examined = run("evaluate", "run=made", "episodes=3", folder=tmp_path)
    assert examined.returncode == 0, examined.stderr[-2000:]
    assert figures(examined.stdout.splitlines()[-1])["episodes"] == "3"


@pytest.mark.parametrize("hindsight", groups.HINDSIGHT)
def test_every_source_of_goals_takes_steps(recipe, hindsight, trained, tmp_path):
    trained(recipe, 2, f"hindsight={hindsight}", directory=tmp_path)
    assert len(read_table(tmp_path / "metrics.csv")["critic/loss"]) == 2


@pytest.mark.parametrize(("reward", "low", "high"), [("her", -1, 0), ("sparse", 0, 1)])
def test_both_rewards_bound_the_targets(recipe, reward, low, high, configured):
    cfg = configured(recipe, *TINY[recipe], f"goal_task.reward={reward}", tiny=False)
    _, agent = her.make_networks(cfg, instantiate(cfg.env, seed=0))
    for terminates, most in ((False, high / (1 - cfg.gamma)), (True, high)):
        her.bound_targets(agent.loss, instantiate(cfg.goal_task), cfg.gamma, terminates)
        estimator = agent.loss.value_estimator
        assert (estimator.low, estimator.high) == pytest.approx((low / (1 - cfg.gamma), most))


@pytest.mark.gpu
def test_it_runs_on_a_gpu(recipe, trained, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    trained(recipe, 2, "device=cuda", directory=tmp_path)
    assert len(read_table(tmp_path / "metrics.csv")["critic/loss"]) == 2


def test_dqn_runs_on_fetch_with_discrete_control(trained, tmp_path):
    pytest.importorskip("mujoco")
    line = trained("her_fetch", 2, "agent=dqn", "+env.control=discrete", directory=tmp_path)
    assert figures(line)["env_steps"] == "40"


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(recipe, trained, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    trained(recipe, 6, directory=whole)
    trained(recipe, 2, directory=half)
    trained(recipe, 6, f"resume={half}", directory=tmp_path)
    assert len(read_table(whole / "metrics.csv")["critic/loss"]) == 6
    assert_same(whole, half)


def test_a_resumed_run_continues_at_the_position_in_its_buffer(trained, tmp_path):
    ring, whole, half = "buffer_steps=40", tmp_path / "whole", tmp_path / "half"  # ten episodes, written over
    trained("her_bitflip", 8, ring, directory=whole)
    trained("her_bitflip", 4, ring, directory=half)
    trained("her_bitflip", 8, ring, f"resume={half}", directory=tmp_path)
    assert_same(whole, half)


def test_another_configuration_is_refused(trained, tmp_path):
    trained("her_bitflip", 2, directory=tmp_path)
    with pytest.raises(ValueError, match=r"same configuration .*config.agent.epsilon: .* there, 0.5 here"):
        trained("her_bitflip", 4, "agent.epsilon=0.5", f"resume={tmp_path}", directory=tmp_path)


def test_a_critic_that_diverges_stops_the_run(trained, tmp_path):
    with pytest.raises((RuntimeError, ValueError), match="non-finite|must be finite"):
        trained("her_bitflip", 20, "lr=1e30", directory=tmp_path)


@pytest.mark.parametrize("seed", [0, 1])
def test_five_bits_are_learnt_from_hindsight(seed, trained, tmp_path):
    settings = ("env.num_bits=5", "total_steps=1600", "eval_every=4", "updates_per_step=0.25", f"seed={seed}")
    assert float(figures(trained("her_bitflip", 0, *settings, directory=tmp_path, tiny=False))["success"]) >= 0.95


def test_eight_bits_improve_with_hindsight_and_not_without(trained, tmp_path):
    settings = ("total_steps=1536", "eval_every=20", "updates_per_step=0.1")
    found = {}
    for share in (0, 0.8):
        line = trained(
            "her_bitflip", 0, *settings, f"hindsight_share={share}", directory=tmp_path / str(share), tiny=False
        )
        found[share] = float(figures(line)["success"])
    assert found[0] < 0.1 and found[0.8] > 0.2, found
