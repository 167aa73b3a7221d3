"""A resumed run equals an uninterrupted one bit for bit, after any number of kills."""

from __future__ import annotations

import pytest

from tests.recipes.runs import TINY, assert_same, budget, killed_run, metrics, run, state


@pytest.fixture(params=TINY)
def recipe(request) -> str:
    if request.param == "htrpo_fetch":
        pytest.importorskip("mujoco")
    return request.param


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(recipe, trained, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    trained(recipe, budget(recipe, 6), directory=whole)
    trained(recipe, budget(recipe, 3), directory=half)
    assert state(half) != state(whole)
    trained(recipe, budget(recipe, 6), f"resume={half}", directory=tmp_path)
    assert len(metrics(whole)["critic/loss"]) == 6
    assert_same(whole, half)


def test_a_resumed_first_order_run_equals_an_uninterrupted_one_bit_for_bit(trained, tmp_path):
    """The state of HPG's optimizer is restored."""
    name, hpg = "htrpo_bitflip", "system=hpg"
    trained(name, hpg, budget(name, 4), directory=tmp_path / "whole")
    trained(name, hpg, budget(name, 2), directory=tmp_path / "half")
    trained(name, hpg, budget(name, 4), f"resume={tmp_path / 'half'}", directory=tmp_path)
    assert_same(tmp_path / "whole", tmp_path / "half")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:.*deterministic")
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit_on_a_gpu(recipe, trained, tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole, half = tmp_path / "whole", tmp_path / "half"
        trained(recipe, "device=cuda", budget(recipe, 6), directory=whole)
        trained(recipe, "device=cuda", budget(recipe, 3), directory=half)
        trained(recipe, "device=cuda", budget(recipe, 6), f"resume={half}", directory=tmp_path)
        assert_same(whole, half)
    finally:
        torch.use_deterministic_algorithms(False)


def test_another_seed_is_another_run(trained, tmp_path):
    """The compared results depend on the seed."""
    for seed in (0, 1):
        trained("htrpo_bitflip", f"seed={seed}", budget("htrpo_bitflip", 2), directory=tmp_path / str(seed))
    assert metrics(tmp_path / "0") != metrics(tmp_path / "1") and state(tmp_path / "0") != state(tmp_path / "1")


def test_the_number_of_threads_of_the_physics_changes_nothing(trained, tmp_path):
    pytest.importorskip("mujoco")
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        trained("htrpo_fetch", f"env.num_threads={threads}", budget("htrpo_fetch", 2), directory=folder)
    assert_same(tmp_path / "1", tmp_path / "3")


def test_resuming_a_finished_run_changes_nothing(recipe, trained, tmp_path):
    folder = tmp_path / "run"
    line = trained(recipe, budget(recipe, 2), directory=folder)
    before, table = state(folder), metrics(folder)
    assert trained(recipe, budget(recipe, 2), f"resume={folder}", directory=tmp_path) == line
    assert state(folder) == before and metrics(folder) == table


def test_another_configuration_is_refused_with_the_differences(recipe, trained, tmp_path):
    folder = tmp_path / "run"
    trained(recipe, budget(recipe, 1), directory=folder)
    before = state(folder)
    with pytest.raises(ValueError, match=r"same configuration .*config.critic.lr: .* there, 0.5 here.*config.gamma"):
        trained(recipe, budget(recipe, 2), "critic.lr=0.5", "gamma=0.3", f"resume={folder}", directory=tmp_path)
    assert state(folder) == before


def test_evaluation_settings_and_the_length_may_change(trained, tmp_path):
    folder = tmp_path / "run"
    trained("htrpo_bitflip", budget("htrpo_bitflip", 1), directory=folder)
    more = ("eval_every=2", "eval_episodes=5", "final_episodes=7", "name=other", f"resume={folder}")
    trained("htrpo_bitflip", budget("htrpo_bitflip", 3), *more, directory=tmp_path)
    assert metrics(folder)["eval/episodes"] == [(64, 4.0), (192, 7.0)]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_an_uninterrupted_one(tmp_path):
    settings = (*TINY["htrpo_bitflip"], budget("htrpo_bitflip", 40))
    assert run("htrpo_bitflip", *settings, "hydra.run.dir=whole", folder=tmp_path).returncode == 0
    assert killed_run("htrpo_bitflip", *settings, folder=tmp_path, kills=3, longest=1.0) >= 2
    assert_same(tmp_path / "whole", tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
