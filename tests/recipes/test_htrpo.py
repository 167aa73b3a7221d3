"""Every recipe runs through its command line; every choice composes and takes a step."""

from __future__ import annotations

import json
import re

import imageio.v3 as imageio
import pytest
from safetensors.torch import load_file

from tests.recipes.runs import TINY, budget, run
from torchrl_htrpo.recipes.settings import groups
from torchrl_htrpo.records import read_table
from torchrl_htrpo.records.checkpoints import intact_checkpoint

RESULT = re.compile(r"RESULT( \w+=[-\w.+]+)+")


def figures(line: str) -> dict[str, str]:
    """The last line, parsed."""
    assert RESULT.fullmatch(line), line
    return dict(pair.split("=") for pair in line.split()[1:])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", TINY)
def test_a_run_and_its_evaluation_through_the_command_line(recipe, tmp_path):
    if recipe == "htrpo_fetch":
        pytest.importorskip("mujoco")
    done = run(recipe, *TINY[recipe], budget(recipe, 2), "hydra.run.dir=made", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    result = figures(done.stdout.splitlines()[-1])
    assert result["episodes"] == "4" and result["env_steps"] == budget(recipe, 2).split("=")[1]

    made = tmp_path / "made"
    table = read_table(made / "metrics.csv")
    assert len(table["step/divergence"]) == len(table["eval/success"]) == 2
    assert (made / "learning_curve.png").stat().st_size > 1000
    assert len(list((made / "checkpoints").iterdir())) == 2
    start = json.loads((made / "run.json").read_text())["starts"][0]
    assert start["versions"].keys() >= {"python", "torch", "torchrl", "tensordict", "torchrl_htrpo"}
    assert start["machine"].keys() >= {"processor", "cores", "torch_threads", "gpu"}

    examined = run("evaluate", "run=made", "episodes=3", "best=true", folder=tmp_path)
    assert examined.returncode == 0, examined.stderr[-2000:]
    assert figures(examined.stdout.splitlines()[-1])["episodes"] == "3"
    if recipe == "htrpo_fetch":
        drawn = run("play", "run=made", "gif=policy.gif", "episodes=1", folder=tmp_path)
        assert drawn.returncode == 0 or re.search(r"EGL|OpenGL|MUJOCO_GL", drawn.stderr), drawn.stderr[-2000:]
        assert drawn.returncode or len(imageio.imread(tmp_path / "policy.gif")) == 5
    assert {path.name for path in tmp_path.iterdir()} <= {"made", "policy.gif"}


@pytest.mark.parametrize("recipe", TINY)
@pytest.mark.parametrize(
    ("group", "choices"),
    [
        ("advantage", groups.ADVANTAGES),
        ("divergence", groups.DIVERGENCES),
        ("goals", groups.GOALS),
        ("trust_region", groups.TRUST_REGIONS),
    ],
)
def test_every_choice_takes_a_step(recipe, group, choices, trained, tmp_path):
    if recipe == "htrpo_fetch":
        pytest.importorskip("mujoco")
    for choice in choices:
        folder = tmp_path / choice
        result = figures(trained(recipe, f"{group}={choice}", budget(recipe, 1), directory=folder))
        assert result["env_steps"] == budget(recipe, 1).split("=")[1]
        table = read_table(folder / "metrics.csv")
        assert len(table["critic/loss"]) == 1 and table["critic/loss"][0][1] >= 0
        # The plain sampled KL has a Hessian of either sign: its step may be refused.
        assert table["step/accepted"][0][1] == 1 or choice == "sampled_kl"


@pytest.mark.parametrize(
    ("recipe", "head", "more"),
    [
        ("htrpo_fetch", "gaussian", ()),
        ("htrpo_fetch", "tanh_normal", ()),
        ("htrpo_fetch", "categorical", ("+env.control=discrete",)),
        ("htrpo_bitflip", "categorical", ()),
    ],
)
def test_every_head_takes_a_step_where_its_actions_fit(recipe, head, more, trained, tmp_path):
    if recipe == "htrpo_fetch":
        pytest.importorskip("mujoco")
    trained(recipe, f"head={head}", *more, budget(recipe, 1), directory=tmp_path)
    steps = read_table(tmp_path / "metrics.csv")
    assert steps["step/accepted"][0][1] == 1 and steps["hindsight/ess"][0][1] > 0


@pytest.mark.parametrize("key", ["weighted", "per_decision", "skip_held_goals"])
def test_every_switch_takes_a_step(key, trained, tmp_path):
    trained("htrpo_bitflip", f"{key}=false", budget("htrpo_bitflip", 1), directory=tmp_path)
    assert read_table(tmp_path / "metrics.csv")["step/accepted"][0][1] == 1


def test_a_run_stops_when_an_evaluation_reaches_the_target(trained, tmp_path):
    # any success at all will do: of four random goals of four bits some are one flip away
    line = trained("htrpo_bitflip", "target_success=0.01", "eval_episodes=64", "total_steps=6400", directory=tmp_path)
    assert int(figures(line)["env_steps"]) < 6400 and float(figures(line)["success"]) > 0


def test_evaluations_come_as_often_as_asked_for_and_at_the_end(trained, tmp_path):
    trained("htrpo_bitflip", "eval_every=3", "final_episodes=6", budget("htrpo_bitflip", 5), directory=tmp_path)
    assert read_table(tmp_path / "metrics.csv")["eval/episodes"] == [(64, 4.0), (256, 4.0), (320, 6.0)]


def test_a_critic_that_diverges_stops_the_run_and_leaves_finite_checkpoints(trained, tmp_path):
    with pytest.raises((RuntimeError, ValueError), match="non-finite|must be finite"):
        trained("htrpo_bitflip", "critic.lr=1e30", "critic.updates=1", budget("htrpo_bitflip", 9), directory=tmp_path)
    stored = intact_checkpoint(tmp_path)
    tensors = [
        tensor
        for name in ("actor", "critic")
        for file in stored.glob(f"components/*-{name}/tensors.safetensors")
        for tensor in load_file(file).values()
    ]
    assert tensors
    assert all(tensor.isfinite().all() for tensor in tensors)
