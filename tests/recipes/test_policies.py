"""The kept policies: as they were published, and as good as their cards say."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from pathlib import Path

import pytest
from hydra.utils import instantiate

from torchrl_htrpo import evaluate, load_policy
from torchrl_htrpo.recipes.evaluate import configuration_of
from torchrl_htrpo.recipes.single_env import make_env

POLICIES = Path(__file__).parents[2] / "policies"
KEPT = sorted(path.parent for path in POLICIES.glob("*/run.json"))


def test_reach_and_push_are_kept():
    assert {"reach", "push"} <= {folder.name for folder in KEPT}


def test_every_file_has_its_checksum():
    listed = dict(reversed(line.split("  ")) for line in (POLICIES / "SHA256SUMS").read_text().splitlines())
    files = [file for file in POLICIES.rglob("*") if file.is_file() and file.name != "SHA256SUMS"]
    found = {file.relative_to(POLICIES).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert listed == found


@pytest.mark.slow
@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_policy_is_as_good_as_its_card_says(folder):
    pytest.importorskip("mujoco")
    card, trained = json.loads((folder / "run.json").read_text())["card"], configuration_of(folder, "cpu")
    assert f"| {card['success']:.3f} ({card['success_low']:.3f} to" in (folder / "README.md").read_text()
    task, actor, seed = instantiate(trained.goal_task), load_policy(folder), card["evaluation_seed"]
    with closing(make_env(trained, seed, num_envs=40)) as env:
        found = evaluate(env, actor, task, episodes=200, horizon=trained.horizon, seed=seed)
    assert found.success_low <= card["success"] <= found.success_high


def test_a_run_is_published_with_its_card_and_can_be_loaded(tmp_path, trained, monkeypatch):
    monkeypatch.syspath_prepend(str(POLICIES.parent / "recipes" / "paper"))
    import publish

    trained("htrpo_bitflip", "total_steps=64", directory=tmp_path / "run")
    trained("htrpo_bitflip", "total_steps=128", f"resume={tmp_path / 'run'}", directory=tmp_path / "run")
    card = publish.publish(tmp_path / "run", tmp_path / "kept" / "bits", command="train", episodes=16, seed=3)
    assert card["env_steps"] == 128 and card["episodes"] == 16
    policy, original = load_policy(tmp_path / "kept" / "bits"), load_policy(tmp_path / "run")
    assert all(map(lambda one, other: one.equal(other), policy.parameters(), original.parameters()))
    assert not list((tmp_path / "kept").rglob("*critic*"))
    assert str(tmp_path) not in (tmp_path / "kept" / "bits" / "run.json").read_text()
    assert "success at any step" in (tmp_path / "kept" / "bits" / "README.md").read_text()
