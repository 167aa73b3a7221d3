"""A run that goes on is the run that was never stopped: bit for bit, whenever and however often it was killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.recipes.conftest import TINY, budget, command, environment
from torchrl_htrpo.evaluation import read_table
from torchrl_htrpo.evaluation.checkpoints import checkpoints_of


@pytest.fixture(params=TINY)
def recipe(request) -> str:
    if request.param == "htrpo_fetch":
        pytest.importorskip("mujoco")
    return request.param


def state(folder: Path) -> dict[str, bytes]:
    """Every byte of the last checkpoint but the seconds it took."""
    latest = checkpoints_of(folder).latest()
    found = {
        str(file.relative_to(latest)): file.read_bytes()
        for file in (latest / "components").rglob("*")
        if file.is_file()
    }
    (progress,) = [name for name in found if "progress" in name]
    kept = json.loads(found[progress])
    del kept["seconds"]
    return found | {progress: json.dumps(kept).encode(), "name": latest.name.encode()}


def metrics(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The table but for times."""
    table = read_table(folder / "metrics.csv")
    return {name: rows for name, rows in table.items() if not name.startswith("time/")}


def assert_same(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    left, right = state(one), state(other)
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []


def test_two_halves_are_the_whole_bit_for_bit(recipe, trained, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    trained(recipe, budget(recipe, 6), directory=whole)
    trained(recipe, budget(recipe, 3), directory=half)
    assert state(half) != state(whole)
    trained(recipe, budget(recipe, 6), f"resume={half}", directory=tmp_path)
    assert len(metrics(whole)["critic/loss"]) == 6
    assert_same(whole, half)


def test_another_seed_is_another_run(trained, tmp_path):
    """What the others compare can differ."""
    for seed in (0, 1):
        trained("htrpo_bitflip", f"seed={seed}", budget("htrpo_bitflip", 2), directory=tmp_path / str(seed))
    assert metrics(tmp_path / "0") != metrics(tmp_path / "1") and state(tmp_path / "0") != state(tmp_path / "1")


def test_the_number_of_threads_of_the_physics_changes_nothing(trained, tmp_path):
    pytest.importorskip("mujoco")
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        trained("htrpo_fetch", f"num_threads={threads}", budget("htrpo_fetch", 2), directory=folder)
    assert_same(tmp_path / "1", tmp_path / "3")


def test_a_finished_run_gone_on_with_stays_as_it_is(recipe, trained, tmp_path):
    run = tmp_path / "run"
    line = trained(recipe, budget(recipe, 2), directory=run)
    before, table = state(run), metrics(run)
    assert trained(recipe, budget(recipe, 2), f"resume={run}", directory=tmp_path) == line
    assert state(run) == before and metrics(run) == table


def test_another_configuration_is_refused_with_the_differences(recipe, trained, tmp_path):
    run = tmp_path / "run"
    trained(recipe, budget(recipe, 1), directory=run)
    before = state(run)
    with pytest.raises(ValueError, match=r"same configuration .*config.critic.lr: .* there, 0.5 here.*config.gamma"):
        trained(recipe, budget(recipe, 2), "critic.lr=0.5", "gamma=0.3", f"resume={run}", directory=tmp_path)
    assert state(run) == before


def test_how_a_run_is_examined_and_how_long_it_is_may_change(trained, tmp_path):
    run = tmp_path / "run"
    trained("htrpo_bitflip", budget("htrpo_bitflip", 1), directory=run)
    more = ("eval_every=2", "eval_episodes=5", "final_episodes=7", "name=other", f"resume={run}")
    trained("htrpo_bitflip", budget("htrpo_bitflip", 3), *more, directory=tmp_path)
    assert metrics(run)["eval/episodes"] == [(64, 4.0), (192, 7.0)]


def kill_after(seconds: float, *overrides: str, folder: Path, script: str) -> bool:
    """Start a recipe and kill it some time after its first words; whether it was still alive."""
    with subprocess.Popen(
        command(script, *overrides),
        env=environment(),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stderr.read(1)  # the progress bar: imports are done, the run begins
        time.sleep(seconds)
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return alive


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_the_unbroken_one(trained, tmp_path):
    settings = (*TINY["htrpo_bitflip"], budget("htrpo_bitflip", 40))
    trained("htrpo_bitflip", budget("htrpo_bitflip", 40), directory=tmp_path / "whole")
    run, dice, kills = tmp_path / "run", random.Random(0), 0
    while kills < 3:
        go_on = checkpoints_of(run).latest() is not None
        where = f"resume={run}" if go_on else f"hydra.run.dir={run}"
        extra = ("hydra.run.dir=more",) if go_on else ()
        if not kill_after(dice.uniform(0.1, 1.0), *settings, where, *extra, folder=tmp_path, script="htrpo_bitflip"):
            break
        kills += 1
    trained("htrpo_bitflip", budget("htrpo_bitflip", 40), f"resume={run}", directory=tmp_path)
    assert kills >= 2
    assert_same(tmp_path / "whole", run)
    assert not list((run / "checkpoints").glob(".*"))
