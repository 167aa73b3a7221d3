"""A wrong setting is refused before any work: with the key, its value, and what it may be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.recipes.runs import TINY, run


@pytest.fixture
def settings(importable):
    import settings

    return settings


def leaves(cfg, prefix=""):
    for key, value in cfg.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}"


@pytest.mark.parametrize("recipe", TINY)
@pytest.mark.parametrize("preset", ["library", "paper"])
def test_the_shipped_settings_are_accepted(recipe, preset, configured, settings):
    settings.check(configured(recipe, f"trust_region={preset}", tiny=False))


@pytest.mark.parametrize("recipe", TINY)
def test_every_number_of_the_configuration_has_a_range(recipe, configured, settings):
    raw = OmegaConf.to_container(configured(recipe, tiny=False))  # references are ranged where they point to
    assert set(leaves(raw)) <= settings.RANGES.keys()


BAD = {
    "max_kl": -1,
    "num_goals": 0,
    "horizon": 0,
    "num_envs": -3,
    "num_threads": 0,
    "gamma": 1.5,
    "lmbda": -0.1,
    "critic.updates": 0,
    "critic.lr": "nan",
    "critic.batch_size": 2.5,
    "total_steps": "many",
    "seed": -1,
    "target_success": 2,
    "hidden_sizes": "[8,0]",
    "gradient_rows": 0,
    "chunk_rows": "null",
    "eval_every": 0,
    "goal_task.reached.threshold": 0,
    "trust_region.search.divergence_tolerance": 0.5,
}


@pytest.mark.parametrize(("key", "value"), BAD.items())
def test_a_value_outside_its_range_is_refused_by_name(key, value, configured, settings):
    cfg = configured("htrpo_fetch", f"{key}={value}")
    with pytest.raises(ValueError, match=r"^htrpo_fetch_reach: ") as refused:
        settings.check(cfg)
    shown = "null" if value == "null" else OmegaConf.select(cfg, key)
    assert f"{key}={shown} must be {settings.RANGES[key]}" in str(refused.value)


def test_every_wrong_value_is_named_at_once(configured, settings):
    with pytest.raises(ValueError, match=r"horizon=0 .*; .*gamma=7"):
        settings.check(configured("htrpo_fetch", "gamma=7", "horizon=0"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("batch_steps=30", r"batch_steps=30 must be a multiple of num_envs \* horizon = 20"),
        ("total_steps=39", "total_steps=39 must be at least 40"),
        ("warmup_steps=22", "warmup_steps=22 must be a multiple of num_envs = 4"),
        ("warmup_steps=0", "warmup_steps=0 must be .* above 0 with normalize"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(override, said, configured, settings):
    with pytest.raises(ValueError, match=said):
        settings.check(configured("htrpo_fetch", override))


def test_bit_flipping_lasts_as_many_steps_as_there_are_bits(configured, settings):
    with pytest.raises(ValueError, match="horizon=3 must be num_bits = 4"):
        settings.check(configured("htrpo_bitflip", "horizon=3"))


RANGE = st.tuples(st.floats(-5, 5), st.floats(0, 9), st.booleans(), st.booleans(), st.booleans())
VALUE = st.one_of(st.none(), st.booleans(), st.integers(-10, 10), st.floats(), st.text(max_size=3))


@given(RANGE, VALUE)
def test_a_range_holds_what_it_says(importable, parts, value):
    from settings import Range

    low, width, above, whole, optional = parts
    allowed = Range(low, low + width, above, whole, optional)
    if value is None:
        assert (value in allowed) is optional
    elif isinstance(value, bool | str):
        assert value not in allowed
    else:
        inside = low < value <= low + width or (value == low and not above)
        right = isinstance(value, int) or (not whole and math.isfinite(value))
        assert (value in allowed) is (inside and right)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 200), st.integers(0, 40), st.integers(1, 400))
def test_accepted_sizes_are_whole_episodes_and_leave_room_for_a_batch(importable, envs, horizon, batch, warmup, total):
    from settings import check

    sizes = {"num_envs": envs, "horizon": horizon, "batch_steps": batch, "warmup_steps": warmup, "total_steps": total}
    cfg = OmegaConf.create({"name": "sizes", "normalize": False, **sizes})
    fits = batch % (envs * horizon) == 0 and total >= warmup + batch and warmup % envs == 0
    if fits:
        check(cfg)
    else:
        with pytest.raises(ValueError, match="sizes: .* must be"):
            check(cfg)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("num_evns=4", "num_evns is not a key; did you mean num_envs?"),
        ("critic.update=4", "critic.update is not a key; did you mean critic.updates?"),
        ("goal=hgf", "goal is not a key; did you mean goals?"),
        ("+num_evns=4", "num_evns is not a key; did you mean num_envs?"),
        ("zzzzzz=1", "zzzzzz is not a key"),
    ],
)
def test_a_key_that_nobody_reads_is_refused_and_the_nearest_named(argument, said, settings):
    with pytest.raises(SystemExit) as refused:
        settings.refuse_unknown_keys("htrpo_fetch", ["task=push", argument])
    assert str(refused.value) == f"htrpo_fetch: {said}"


def test_keys_that_are_read_pass(settings):
    arguments = ["task=push", "goals=uniform", "critic.lr=1e-3", "+env.control=discrete", "hydra.run.dir=x", "-m"]
    settings.refuse_unknown_keys("htrpo_fetch", [*arguments, "~critic.lr", "hidden_sizes=[8,8]", "seed=1,2"])


def test_keys_of_a_chosen_group_pass_and_those_of_another_do_not(settings):
    settings.refuse_unknown_keys(
        "htrpo_fetch", ["head=gmm", "head.num_components=2", "+preset=mixed", "head.heads=null"]
    )
    settings.refuse_unknown_keys("htrpo_fetch", ["head=gaussian,gmm", "head.spread=0.1"])
    with pytest.raises(SystemExit, match=r"htrpo_fetch: head.spread is not a key"):
        settings.refuse_unknown_keys("htrpo_fetch", ["head=tanh_normal", "head.spread=0.1"])


@pytest.mark.slow
def test_a_typo_on_the_command_line_stops_before_any_folder_is_made(tmp_path):
    done = run("htrpo_bitflip", "num_bit=3", folder=tmp_path)
    assert done.returncode == 1 and "num_bit is not a key; did you mean num_bits?" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_may_change_when_a_run_goes_on_is_left_out_of_what_must_not(configured, settings):
    kept = settings.lasting(configured("htrpo_fetch"))
    assert not kept.keys() & settings.FREE and "num_threads" not in kept["env"]
    assert kept["trust_region"]["max_divergence"] == 0.005 and kept["env"]["num_envs"] == 4


def test_a_buffer_holds_a_batch(configured, settings):
    with pytest.raises(ValueError, match="buffer_steps=20 must be at least 50: one batch"):
        settings.check(configured("her_fetch", "buffer_steps=20", "num_envs=1", "horizon=50", tiny=False))


def test_values_bounded_by_a_discount_need_one_below_1(configured, settings):
    with pytest.raises(ValueError, match="gamma=1.0 must be below 1"):
        settings.check(configured("her_bitflip", "gamma=1.0"))
