"""The configuration of a run builds known components, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf

from torchrl_htrpo.records.trusted import OTHERS, OURS, load_config, refuse_foreign_targets

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stranger(tmp_path):
    """Write a configuration as a stranger would; give the run's folder."""

    def make(config: dict | str) -> Path:
        text = config if isinstance(config, str) else json.dumps({"config": config})
        (tmp_path / "run.json").write_text(text)
        return tmp_path

    return make


def attacks(touched: Path) -> dict[str, dict]:
    touch = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(touched)]}}
    return {
        "a function": touch,
        "a shell": {"_target_": "os.system", "command": f"touch {touched}"},
        "an unpickler": {"_target_": "numpy.load", "file": "x.npy", "allow_pickle": True},
        "below a trusted one": {"_target_": "torchrl_htrpo.envs.WithinDistance", "threshold": touch},
        "in a list": {"_target_": "torchrl_htrpo.envs.WithinDistance", "_args_": [touch]},
        "through this package": {
            "_target_": "torchrl_htrpo.envs.adapters.worker_pool.shutil.rmtree",
            "path": str(touched),
        },
        "a writer of this package": {"_target_": "torchrl_htrpo.Run", "directory": str(touched)},
        "a lookup": {"_target_": "hydra.utils.get_method", "path": "os.system"},
        "a lookup by position": {"_target_": "hydra.utils.get_method", "_args_": ["os.system"]},
        "a lookup with more": {"_target_": "hydra.utils.get_class", "path": "torch.nn.ReLU", "_partial_": True},
        "no string": {"_target_": ["os.system"]},
        "a module of an environment": {"_target_": "torchrl_htrpo.envs.make_goal_env", "name": "evil:Env-v0"},
        "the same by position": {"_target_": "torchrl_htrpo.envs.make_goal_env", "_args_": ["evil:Env-v0"]},
    }


@pytest.mark.parametrize("attack", attacks(Path()))
def test_a_foreign_target_is_refused_by_name_and_does_not_run(attack, stranger, tmp_path):
    touched = tmp_path / "touched"
    config = {"env": attacks(touched)[attack]}
    with pytest.raises(ValueError, match=r"targets must be components of this library.*env"):
        load_config(stranger(config))
    assert not touched.exists()


def test_hydra_by_itself_would_have_run_it(tmp_path):
    """The reason for the refusal."""
    instantiate(attacks(tmp_path / "touched")["a function"])
    assert (tmp_path / "touched").exists()


REFERENCES = {
    "to a target": {"evil": "os.system", "env": {"_target_": "${evil}"}},
    "to a value": {"bits": 4, "env": {"_target_": "torchrl_htrpo.BitFlipEnv", "num_bits": "${bits}"}},
    "to the reader's environment variables": {"env": {"_target_": "torchrl_htrpo.BitFlipEnv", "x": "${oc.env:HOME}"}},
    # Two rounds of resolving turn each of these into a target, after a check of the first round's result.
    "that makes a target": {"env": "${oc.create:{_target_:pathlib.Path.touch,_args_:[x]}}"},
    "escaped once": {"env": "\\${oc.create:{_target_:pathlib.Path.touch,_args_:[x]}}"},
    "escaped twice": {"env": "\\\\\\${oc.create:{_target_:pathlib.Path.touch,_args_:[x]}}"},
    "in a list": {"env": {"_target_": "torchrl_htrpo.BitFlipEnv", "_args_": ["\\${oc.create:{_target_:os.getcwd}}"]}},
}


@pytest.mark.parametrize("config", REFERENCES.values(), ids=REFERENCES)
def test_a_reference_is_refused_by_name_and_never_resolved(config, stranger):
    with pytest.raises(ValueError, match=r"configuration: env.* must be a value without references"):
        load_config(stranger(config))


def test_a_configuration_that_is_too_deep_is_an_error(stranger):
    with pytest.raises(ValueError, match="load_config"):
        load_config(stranger('{"config": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001))


def test_a_name_that_the_reader_trusts_is_accepted(stranger):
    config = stranger({"env": {"_target_": "my_package.MyEnv"}})
    with pytest.raises(ValueError, match="env: my_package.MyEnv"):
        load_config(config)
    assert load_config(config, trusted=["my_package.MyEnv"]).env["_target_"] == "my_package.MyEnv"


@pytest.mark.parametrize(
    "text", ["{", "[1, 2]", "{}", '{"config": 1}', '{"config": {"a": "???"}}', '{"config": {"a": "${"}}']
)
def test_a_file_that_cannot_be_read_is_an_error(text, stranger):
    with pytest.raises(ValueError, match="load_config"):
        load_config(stranger(text))


def test_a_folder_without_a_configuration_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="load_config: directory must be the folder of a run"):
        load_config(tmp_path)


@pytest.mark.parametrize("room", OURS)
def test_every_trusted_name_exists(room):
    assert all(callable(get_method(f"torchrl_htrpo.{room}.{name}")) for name in OURS[room].split())
    assert all(callable(get_method(name)) for name in OTHERS.split())


def test_every_component_of_the_recipes_is_trusted():
    files = sorted((ROOT / "torchrl_htrpo" / "recipes" / "conf").rglob("*.yaml"))
    assert files
    for file in files:
        refuse_foreign_targets(OmegaConf.to_container(OmegaConf.load(file)))


def test_a_module_of_environments_that_the_reader_trusts_is_accepted(stranger):
    config = stranger({"env": {"_target_": "torchrl_htrpo.make_goal_env", "name": "panda_gym:PandaReach-v3"}})
    with pytest.raises(ValueError, match="which imports panda_gym"):
        load_config(config)
    assert load_config(config, trusted=["panda_gym"]).env.name == "panda_gym:PandaReach-v3"
