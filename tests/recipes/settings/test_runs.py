"""Wrong settings are refused before any work; the error names the key and its choices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import StrEnum

import pytest
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.recipes.runs import NAMED, TINY, check, run
from torchrl_htrpo.recipes.command import SCHEMAS, refuse_unknown_keys
from torchrl_htrpo.recipes.settings import lasting
from torchrl_htrpo.recipes.settings.runs import FREE

HTRPO_TASKS = ["htrpo_bitflip", "htrpo_fetch", "htrpo_maze", "htrpo_pacman", "htrpo_detour", "htrpo_hidden_gap"]


@pytest.mark.parametrize("recipe", [*HTRPO_TASKS, "htrpo_gear_shift", "her_bitflip", "her_detour", "her_fetch", "trpo"])
def test_the_shipped_settings_are_accepted(recipe, configured):
    check(recipe, configured(recipe, tiny=False))


@pytest.mark.parametrize("override", ["trust_region=paper", "trust_region=hpg", "preset=paper", "preset=estimates"])
def test_the_shipped_choices_are_accepted(override, configured):
    check("htrpo", configured("htrpo_fetch", override, tiny=False))


# Refused while Hydra composes the configuration: wrong types, unknown choices and keys.
WRONG = {
    "weighted=maybe": "weighted",
    "logger=foo": "csv, tensorboard, wandb",
    "finished=foo": "foo",
    "eval_exploration=GREEDY": "DETERMINISTIC, MODE, RANDOM",
    "goal_task.reward=foo": "sparse, paper_code, her, dense",
    "hidden_sizes=8": "hidden_sizes",
    "critic.batch_size=2.5": "critic.batch_size",
    "total_steps=many": "total_steps",
    "chunk_rows=null": "chunk_rows",
    "head.init_scale=wide": "init_scale",
    "head.foo=1": "Key 'foo' not in 'GaussianHead'",
    "goals.distance=far": "euclidean, density",
    "task=reech": "reech.*bitflip.*reach",
    "goals=foo": "hgf",
}


@pytest.mark.parametrize(("override", "said"), WRONG.items())
def test_a_wrong_type_choice_or_key_is_refused_while_composing(override, said, configured):
    with pytest.raises(HydraException) as refused:
        configured("htrpo_fetch", override)
    told = f"{refused.value} {refused.value.__cause__}"
    assert re.search(said, told, re.DOTALL)


BAD = {
    "max_divergence=-1": "max_divergence must be above 0, got -1.0",
    "num_goals=0": "num_goals must be at least 1, got 0",
    "horizon=0": "horizon must be at least 1, got 0",
    "num_envs=-3": "num_envs must be at least 1, got -3",
    "gamma=1.5": "gamma must be at least 0 and at most 1, got 1.5",
    "lmbda=-0.1": "lmbda must be at least 0",
    "critic.updates=0": "CriticConfig: updates must be at least 1, got 0",
    "critic.lr=nan": "lr must be above 0, got nan",
    "seed=-1": "seed must be at least 0",
    "target_success=2": "target_success must be above 0 and at most 1, got 2.0",
    "hidden_sizes=[8,0]": "hidden_sizes must be at least 1, got [8, 0]",
    "gradient_rows=0": "gradient_rows must be at least 1, got 0",
    "eval_every=0": "eval_every must be at least 1",
    "batch_steps=30": "batch_steps must be a multiple of num_envs * horizon = 20, got 30",
    "total_steps=39": "total_steps must be at least warmup_steps + one batch = 40, got 39",
    "warmup_steps=22": "warmup_steps must be a multiple of num_envs = 4",
    "warmup_steps=0": "warmup_steps must be a multiple of num_envs = 4, above 0 with normalize, got 0",
}


@pytest.mark.parametrize(("override", "said"), BAD.items())
def test_a_value_outside_its_range_is_refused_by_name(override, said, configured):
    with pytest.raises(ValueError, match=re.escape(said)):
        check("htrpo", configured("htrpo_fetch", override))


# What no key of a type may be.
NONSENSE = {
    bool: ["maybe", "abc", None, [True]],
    int: ["abc", 2.5, float("nan"), None, -1],
    float: ["abc", float("nan"), float("inf"), -1.0, None],
    list: ["abc", 8, [0], ["a"], [2.5], None],
    StrEnum: ["foo", None, 3],
}


def nonsense(node, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every typed key of a configuration with every nonsense for it."""
    for key in node:
        part = node._get_node(key)
        if isinstance(part, DictConfig) and is_dataclass(part._metadata.object_type):
            yield from nonsense(part, f"{prefix}{key}.")
            continue
        kind = part._metadata.ref_type
        kind = list if isinstance(part, ListConfig) else kind
        match = next((base for base in NONSENSE if isinstance(kind, type) and issubclass(kind, base)), None)
        if match is not None and not OmegaConf.is_interpolation(node, key):
            optional = part._metadata.optional
            yield from ((prefix + key, value) for value in NONSENSE[match] if not (value is None and optional))


# A negative reward, or a bound that the library checks when the run is built.
CHECKED_LATER = ("goal_task.", "head.", "goals.", "advantage.", "trust_region.", "agent.", "hindsight.", "env.")


def changed_and_checked(recipe: str, cfg: DictConfig, key: str, value: object) -> None:
    OmegaConf.update(cfg, key, value)
    check(recipe, cfg)


@pytest.mark.parametrize("recipe", ["htrpo_bitflip", "her_detour", "trpo"])
def test_nonsense_for_any_typed_key_is_refused_by_name(recipe, configured):
    schema, tried = OmegaConf.structured(SCHEMAS[NAMED.get(recipe, (recipe,))[0]]), 0
    cfg = OmegaConf.merge(schema, configured(recipe))  # with the types of all keys
    for key, value in nonsense(cfg):
        if isinstance(value, (int, float)) and key.startswith(CHECKED_LATER):
            continue
        changed, tried = cfg.copy(), tried + 1
        with pytest.raises((OmegaConfBaseException, ValueError)) as refused:
            changed_and_checked(recipe, changed, key, value)
        assert key.rpartition(".")[2] in str(refused.value), (key, value, refused.value)
    assert tried > 60


@pytest.mark.parametrize("value", [0, 1, 2, "yes", "on", None])
@pytest.mark.parametrize("key", ["weighted", "normalize"])
def test_a_switch_is_true_or_false_and_nothing_that_converts(key, value, configured):
    plain = OmegaConf.create(OmegaConf.to_container(configured("htrpo_fetch"), enum_to_str=True))
    plain[key] = value
    with pytest.raises(ValueError, match=f"{key} must be true or false, got {value!r}"):
        check("htrpo", plain)


@pytest.mark.parametrize("override", ["weighted=2", "goal_task.ends_at_success=yes"])
def test_a_command_line_says_true_or_false(override, tmp_path):
    done = run("htrpo_bitflip", override, "total_steps=64", folder=tmp_path)
    key, value = override.split("=")
    assert done.returncode == 1 and re.search(f"htrpo: {key} must be true or false, got '?{value}", done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("override", ["reset_each_batch=abc", "batch_steps=null", "env=null", "critic.epochs=many"])
def test_trpo_refuses_wrong_types_by_name(override, configured):
    with pytest.raises(HydraException, match=override.partition("=")[0].rpartition(".")[2]):
        configured("trpo", override)


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        ("htrpo_bitflip", "horizon=3", "horizon must be env.num_bits = 4, got 3"),
        ("her_fetch", "buffer_steps=20", "buffer_steps must be at least one batch = 400, got 20"),
        ("her_bitflip", "gamma=1.0", "gamma must be below 1"),
        ("her_bitflip", "polyak=1.5", "polyak must be at least 0 and at most 1, got 1.5"),
        ("trpo", "critic.epochs=0", "epochs must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(recipe, override, said, configured):
    with pytest.raises(ValueError, match=re.escape(said)):
        check(recipe, configured(recipe, override))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 200), st.integers(0, 40), st.integers(1, 400))
def test_accepted_sizes_are_whole_episodes_and_leave_room_for_a_batch(envs, horizon, batch, warmup, total):
    from torchrl_htrpo.recipes.settings import HTRPOConfig

    sizes = {"num_envs": envs, "horizon": horizon, "batch_steps": batch, "warmup_steps": warmup, "total_steps": total}
    choices = dict.fromkeys(("head", "goals", "advantage", "divergence", "trust_region"))
    task = {"name": "sizes", "normalize": False, "env": {}, "goal_task": {"reached": None}}
    cfg = OmegaConf.merge(OmegaConf.structured(HTRPOConfig), {**choices, **task, **sizes})
    if batch % (envs * horizon) == 0 and total >= warmup + batch and warmup % envs == 0:
        check("htrpo", cfg)
    else:
        with pytest.raises(ValueError, match="sizes: .* must be"):
            check("htrpo", cfg)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("num_evns=4", "num_evns is not a key; did you mean num_envs?"),
        ("critic.update=4", "critic.update is not a key; did you mean critic.updates?"),
        ("goal=hgf", "goal is not a key; did you mean goals?"),
        ("+num_evns=4", "num_evns is not a key; did you mean num_envs?"),
        ("num_bits=16", "num_bits is not a key"),
        ("zzzzzz=1", "zzzzzz is not a key"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_named(argument, said):
    with pytest.raises(SystemExit, match=re.escape(f"htrpo: {said}")):
        refuse_unknown_keys("htrpo", ["task=push", argument])


def test_known_keys_pass():
    arguments = ["task=push", "goals=uniform", "critic.lr=1e-3", "+env.control=discrete", "hydra.run.dir=x", "-m"]
    more = ["~critic.lr", "hidden_sizes=[8,8]", "seed=1,2", "head.spread=0.1", "preset=fast", "system=hpg"]
    refuse_unknown_keys("htrpo", [*arguments, *more, "goal_task.reached.threshold=0.1", "hydra/launcher=joblib"])


# Refused by the library, when the run is built: it knows what fits the environment.
UNFIT = [
    ("htrpo_fetch", ("head=categorical",), "check_actor: actor must be"),
    (
        "htrpo_fetch",
        ("divergence=kl", "head=gmm"),
        "divergence must be one that the policy.s distribution has .*got .KLLoss.*QKLLoss",
    ),
    ("her_bitflip", ("agent=ddpg",), "agent=ddpg: .*choices: .*agent=dqn"),
    ("her_fetch", ("agent=dqn",), "agent=dqn: .*choices: .*agent=ddpg"),
    ("trpo", ("env=CartPole-v1",), "check_actor: actor must be"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "overrides", "said"), UNFIT)
def test_a_refused_run_names_what_does_not_fit_and_leaves_no_folder(recipe, overrides, said, tmp_path):
    done = run(recipe, *overrides, folder=tmp_path)
    assert done.returncode == 1 and re.search(said, done.stderr, re.DOTALL), done.stderr[-3000:]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("override", ["env.num_bit=3", "gamma=2", "task=reech", "logger=foo"])
def test_a_refused_setting_leaves_no_folder(override, tmp_path):
    done = run("htrpo_bitflip", override, folder=tmp_path)
    assert done.returncode == 1 and override.partition("=")[0].rpartition(".")[2] in done.stderr
    assert not list(tmp_path.iterdir())


def test_keys_that_may_change_on_resume_are_not_compared(configured):
    kept = lasting(configured("htrpo_fetch"))
    assert not kept.keys() & FREE and "num_threads" not in kept["env"]
    assert kept["trust_region"]["max_divergence"] == 0.005 and kept["env"]["num_envs"] == 4


@pytest.mark.parametrize("recipe", TINY)
def test_a_configuration_that_is_written_is_read_back_the_same(recipe, configured):
    cfg = configured(recipe)
    assert lasting(OmegaConf.create(OmegaConf.to_yaml(cfg))) == lasting(cfg)
