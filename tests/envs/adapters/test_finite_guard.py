"""FiniteGuard: NaN and inf raise an error that names environment, step and key."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchrl.envs import StepCounter, TransformedEnv, check_env_specs

pytest.importorskip("gymnasium")

from tests.envs.failing import Walk
from torchrl_htrpo.checks import set_checks
from torchrl_htrpo.envs import BitFlipEnv, EnvBatch, EnvFailure, FiniteGuard, make_goal_env
from torchrl_htrpo.envs.adapters.finite_guard import guarded

KEYS = ("observation", "achieved_goal", "desired_goal", "reward")
BATCH = BitFlipEnv(4, num_envs=3, seed=0).rollout(12, break_when_any_done=False)  # three episodes of four steps
NUMBERS = [key for key in BATCH.keys(True, True) if BATCH[key].is_floating_point()]


def walks(*args, **settings) -> TransformedEnv:
    return guarded(EnvBatch([Walk, Walk, partial(Walk, *args, **settings)], seed=0))


def walk(env, steps=12):
    def act(tensordict):
        return tensordict.set("action", torch.zeros(3, 2))

    return env.rollout(steps, act, break_when_any_done=False)


def test_the_guard_does_not_change_an_environment():
    check_env_specs(walks())
    plain, kept = BitFlipEnv(4, num_envs=3, seed=0), TransformedEnv(BitFlipEnv(4, num_envs=3, seed=0), FiniteGuard())
    for env in (plain, kept):
        torch.manual_seed(0)
        env.walked = env.rollout(9, break_when_any_done=False)
    assert (plain.walked == kept.walked).all()
    assert kept.rng_state().keys() == {"generator"}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_bad_step_is_refused(key, number):
    said = rf"environment 2 gave {number} in \('next', '{key}'\) in step 3"
    with pytest.raises(EnvFailure, match=said):
        walk(walks(number, episode=2, key=key))


def test_only_numbers_beyond_the_limit_are_refused():
    with pytest.raises(EnvFailure, match=r"environment 2 gave [\d.e+]*e\+1[89] in \('next', 'observation'\) in step 3"):
        walk(walks(1e19, episode=2))
    walk(walks(1e8, episode=2))
    with pytest.raises(ValueError, match="FiniteGuard: limit must be positive, got nan"):
        FiniteGuard(limit=math.nan)


def test_make_goal_env_guards_unless_told_otherwise():
    maker = partial(Walk, math.nan, episode=1)

    def act(tensordict):
        return tensordict.set("action", torch.zeros(1, 2))

    with pytest.raises(EnvFailure, match="environment 0 gave nan"):
        make_goal_env(maker, 1).rollout(5, act)
    assert make_goal_env(maker, 1, check_finite=False).rollout(5, act)["next", "observation"].isnan().any()


def test_a_bad_reset_is_refused():
    with pytest.raises(EnvFailure, match="environment 2 gave nan in 'desired_goal' in the reset"):
        walk(walks(math.nan, step=0, key="desired_goal"))


def test_steps_are_counted_for_each_environment():
    makers = [partial(Walk, horizon=2), partial(Walk, math.nan, episode=2, horizon=3)]
    env = TransformedEnv(EnvBatch(makers, seed=0), FiniteGuard())

    def act(tensordict):
        return tensordict.set("action", torch.zeros(2, 2))

    with pytest.raises(EnvFailure, match="environment 1 gave nan .* in step 3"):
        env.rollout(12, act, break_when_any_done=False)


@given(
    st.sampled_from(NUMBERS), st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 2), st.integers(0, 11)
)
def test_a_batch_is_checked_at_once_and_the_first_bad_number_is_named(key, number, row, step):
    batch = BATCH.clone()
    batch[key][row, step] = number
    after = isinstance(key, tuple)
    when = step % 4 + after
    said = f"environment {row} gave {number} in {key!r} in {f'step {when}' if when else 'the reset'}"
    with pytest.raises(EnvFailure) as raised:
        FiniteGuard()(batch)
    assert str(raised.value) == f"FiniteGuard: {said}"


def test_a_good_batch_is_returned_unchanged():
    assert FiniteGuard()(BATCH) is BATCH


def test_with_checks_off_only_the_batch_is_checked():
    with set_checks("off"):
        batch = walk(walks(math.nan, episode=2))
        with pytest.raises(EnvFailure, match="environment 2 gave nan in 'observation' in step 3"):
            FiniteGuard()(batch)


def test_an_environment_gets_one_guard():
    env = guarded(BitFlipEnv(4))
    assert guarded(env) is env and isinstance(env.transform, FiniteGuard)
    counted = TransformedEnv(env, StepCounter(), auto_unwrap=True)
    assert guarded(counted) is counted
