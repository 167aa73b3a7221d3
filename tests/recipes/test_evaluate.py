"""A trained policy is loaded in one line, and what cannot be loaded is refused by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torchrl.envs import ExplorationType, set_exploration_type

from tests.recipes.runs import STEPS, TINY, run
from torchrl_htrpo import BitFlipEnv, HTRPOTrainer, make_actor, make_critic
from torchrl_htrpo.modules import CategoricalHead
from torchrl_htrpo.recipes.evaluate import load_policy
from torchrl_htrpo.recipes.htrpo import build
from torchrl_htrpo.records.sealed import DamagedCheckpoint


@pytest.fixture(scope="module", params=["htrpo", "her"])
def made(request, tmp_path_factory):
    """The folder of a tiny run on Bit Flipping."""
    folder, tiny = tmp_path_factory.mktemp("run"), [text for text in TINY["htrpo_bitflip"] if "critic" not in text]
    steps = f"total_steps={STEPS['htrpo_bitflip']}"
    done = run(f"{request.param}_bitflip", *tiny, steps, "hydra.run.dir=made", folder=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "made"


def test_a_policy_is_loaded_in_one_line_and_acts(made):
    policy, again = load_policy(made), load_policy(made, best=False)
    observation = BitFlipEnv(4, num_envs=8, seed=0).reset()
    with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
        assert torch.equal(policy(observation.clone())["action"], again(observation.clone())["action"])
    assert sum(parameter.numel() for parameter in policy.parameters()) > 0


def test_a_run_starts_from_the_best_policy_of_another(made, trained, configured, tmp_path):
    if made.name != "made" or "agent" in json.loads((made / "run.json").read_text())["config"]:
        pytest.skip("HER trains another network")
    trainer = build(configured("htrpo_bitflip", f"start_from={made}", directory=tmp_path))
    there, here = load_policy(made).state_dict(), trainer.actor.state_dict()
    assert all(torch.equal(value, here[key]) for key, value in there.items())


def test_a_policy_of_another_size_is_refused_as_a_start(made, configured, tmp_path):
    with pytest.raises(RuntimeError, match="size mismatch|Missing key"):
        build(configured("htrpo_bitflip", f"start_from={made}", "hidden_sizes=[9]", directory=tmp_path))


def test_the_run_of_a_trainer_is_loaded_into_an_actor_made_as_it_was(tmp_path):
    def made_actor():
        return make_actor(CategoricalHead(4), 8, (16,))

    env, actor, folder = BitFlipEnv(4, num_envs=8, seed=0), made_actor(), tmp_path / "run"
    trainer = HTRPOTrainer(
        env, actor, make_critic(8, (16,)), env.task(), horizon=4, total_steps=64, directory=folder, critic_updates=1
    )
    trainer.train()
    loaded = load_policy(folder, made_actor())
    for name, parameter in actor.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name))
    with pytest.raises(ValueError, match=r"load_policy: run must be .* load_policy\(run, actor\)"):
        load_policy(folder)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be the folder of a run"):
        load_policy(tmp_path)


@pytest.mark.parametrize("key", ["env", "goal_task", "head", "agent"])
def test_a_foreign_component_in_the_folder_of_a_run_does_not_run(key, made, tmp_path):
    folder, touched = tmp_path / "run", tmp_path / "touched"
    shutil.copytree(made, folder)
    record = json.loads((folder / "run.json").read_text())
    record["config"][key] = {"_target_": "os.mkdir", "path": str(touched)}
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"targets must be components of this library.*{key}: os.mkdir"):
        load_policy(folder)
    assert not touched.exists()


def test_a_damaged_checkpoint_is_not_loaded(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    for file in folder.rglob("tensors.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DamagedCheckpoint, match=r"tensors.safetensors was changed"):
        load_policy(folder)


@pytest.mark.parametrize(("key", "value"), [("num_bits", 5), ("seed", 1)])
def test_a_changed_configuration_is_noticed(key, value, made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    record = json.loads((folder / "run.json").read_text())
    place = record["config"]["env"] if key in record["config"]["env"] else record["config"]
    place[key] = value
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"run.json must be the configuration of checkpoint-.*{key}: .* {value} here"):
        load_policy(folder)


def test_what_may_change_when_a_run_resumes_may_change_here(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    record = json.loads((folder / "run.json").read_text())
    record["config"] |= {"final_episodes": 7, "device": "meta"}
    (folder / "run.json").write_text(json.dumps(record))
    load_policy(folder)
