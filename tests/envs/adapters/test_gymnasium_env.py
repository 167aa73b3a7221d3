"""CheckedEnv: outputs of gymnasium are checked before they are cast, and its spaces are adapted to TorchRL."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

import gymnasium
from gymnasium import spaces

from torchrl_htrpo.envs import EnvFailure, make_goal_env
from torchrl_htrpo.envs.adapters.gymnasium_env import from_gymnasium

KEYS = ("observation", "achieved_goal", "desired_goal")
BOX = spaces.Box(-1, 1, (2,), np.float32)


class Puppet(gymnasium.Env):
    """Return given outputs in the second step of an episode, and store the actions."""

    def __init__(self, action_space=BOX, **told):
        self.action_space, self.told = action_space, told
        self.observation_space = spaces.Dict(dict.fromkeys(KEYS, BOX))
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation(), self.told.get("reset_info", {})

    def step(self, action):
        self.actions.append(action)
        self.steps += 1
        now = self.told if self.steps == 2 else {}
        info = now.get("info", {"cost": 0.5, "hit": np.bool_(True), "force": np.arange(3.0), "name": "x"})
        return self.observation() | now.get("entries", {}), now.get("reward", 0.0), False, self.steps == 4, info

    def observation(self):
        return dict.fromkeys(KEYS, np.zeros(2, np.float32))


def run(steps=4, info_keys=(), **told):
    env = make_goal_env(partial(Puppet, **told), 2, seed=0, info_keys=info_keys)
    return env.rollout(steps, break_when_any_done=False)


def taken(space, action):
    """The action that the environment receives."""
    puppet = Puppet(space)
    env = from_gymnasium(puppet)
    env.step(env.reset().update(action))
    return puppet.actions[-1]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"reward": None}, "Puppet: reward must be one real number, got None"),
        ({"reward": 1 + 2j}, r"reward must be one real number, got \(1\+2j\)"),
        ({"reward": "much"}, "reward must be one real number, got 'much'"),
        ({"reward": np.zeros(2)}, "reward must be one real number"),
        ({"entries": {"observation": np.array([1j, 0])}}, "observation must be of real numbers, got dtype.*complex128"),
        ({"entries": {"achieved_goal": np.zeros(3, np.float32)}}, r"achieved_goal must be of shape \(2,\), got \(3,\)"),
        ({"entries": {"more": np.zeros(2)}}, r"observation must be with the entries \['achieved_goal'.*'more'"),
        ({"entries": {"desired_goal": np.ones(2, np.float32)}}, r"desired_goal must be the \[0. 0.\] of the episode's"),
    ],
)
def test_invalid_outputs_are_refused_with_their_step(told, said):
    with pytest.raises(EnvFailure, match=rf"environment 0 raised .*{said}.* in step 2 of episode 1"):
        run(**told)


def test_another_goal_in_the_next_episode_is_accepted():
    class Moving(Puppet):
        def reset(self, **kwargs):
            state, info = super().reset(**kwargs)
            self.goal = self.np_random.uniform(-1, 1, 2).astype(np.float32)
            return state | {"desired_goal": self.goal}, info

        def observation(self):
            return super().observation() | {"desired_goal": getattr(self, "goal", np.zeros(2, np.float32))}

    goals = make_goal_env(Moving, 1, seed=0).rollout(8, break_when_any_done=False)["desired_goal"][0]
    assert torch.equal(goals[0], goals[3]) and not torch.equal(goals[3], goals[4])


def test_a_value_outside_its_space_is_logged_once(caplog):
    caplog.set_level(logging.WARNING)
    from torchrl import torchrl_logger

    torchrl_logger.addHandler(caplog.handler)
    try:
        run(8, entries={"observation": np.array([0.0, 1.5], np.float32)})
    finally:
        torchrl_logger.removeHandler(caplog.handler)
    told = [record.getMessage() for record in caplog.records if "outside its space" in record.getMessage()]
    assert len(told) == 2  # once by each of two environments
    assert told[0].startswith("Puppet: 'observation' is 1.5 at [1], outside its space [-1.0, 1.0]")


def test_numbers_and_bools_of_info_become_float_entries():
    batch = run(info_keys=["cost", "hit", "force"], reset_info={"cost": 2})
    assert batch["next", "cost"].tolist() == [[[0.5]] * 4] * 2 and batch["cost"][0, 0].item() == 2
    assert batch["next", "hit"].shape == (2, 4, 1) and batch["next", "hit"].dtype == torch.float32
    assert batch["next", "force"][1, 2].tolist() == [0, 1, 2] and not batch["force"][1, 0].any()


@pytest.mark.parametrize(
    ("keys", "told", "said"),
    [
        (["speed"], {}, r"info_keys must be entries of info, got \['speed'\] \(choices: 'cost', 'force'"),
        (["name"], {}, r"info\['name'\] must be a number, a bool or an array of them, got 'x'"),
        (["cost"], {"info": {}}, r"info must be with \['cost'\]"),
        (["observation"], {"reset_info": {"observation": 1}}, "info_keys must be new entries of a Dict observation"),
    ],
)
def test_a_missing_or_non_numeric_entry_of_info_is_refused(keys, told, said):
    with pytest.raises(EnvFailure, match=said):
        run(info_keys=keys, **told)


def test_fetchs_own_success_is_read():
    pytest.importorskip("gymnasium_robotics")
    env = make_goal_env("reach", 2, backend="gymnasium", seed=0, info_keys=["is_success"])
    batch = env.rollout(3)
    apart = (batch["next", "achieved_goal"] - batch["next", "desired_goal"]).norm(dim=-1, keepdim=True)
    assert torch.equal(batch["next", "is_success"], (apart < 0.05).float())
    env.close()


def test_discrete_actions_are_indices_whatever_the_first_is():
    assert [taken(spaces.Discrete(3), {"action": torch.tensor(k)}) for k in range(3)] == [0, 1, 2]
    assert [taken(spaces.Discrete(3, start=-1), {"action": torch.tensor(k)}) for k in range(3)] == [-1, 0, 1]


def test_actions_in_parts_lie_below_action():
    space = spaces.Dict(gear=spaces.Discrete(3), push=BOX)
    env = make_goal_env(partial(Puppet, space), 2, seed=0)
    assert set(env.action_keys) == {("action", "gear"), ("action", "push")}
    got = taken(space, {"action": {"gear": torch.tensor(2), "push": torch.tensor([0.5, -0.5])}})
    assert got["gear"] == 2 and got["push"].tolist() == [0.5, -0.5]
    assert taken(spaces.Dict(gear=spaces.Discrete(3)), {"action": {"gear": torch.tensor(2)}}) == {"gear": 2}


def test_a_tuple_of_actions_is_refused():
    with pytest.raises(TypeError, match=r"Puppet: action_space must be a Box, Discrete, MultiDiscrete or Dict space"):
        from_gymnasium(Puppet(spaces.Tuple((BOX, BOX))))


def test_an_object_that_is_no_environment_is_refused():
    with pytest.raises(TypeError, match=r"must be an environment of TorchRL or gymnasium.*got 'int'"):
        from_gymnasium(3)
