"""Wrap gymnasium environments for TorchRL, and check their outputs before they are cast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from torchrl import torchrl_logger
from torchrl.envs import GymWrapper

from torchrl_htrpo._errors import refusal

_GOAL = "desired_goal"


class CheckedEnv(gymnasium.Wrapper):
    """Check every output of a gymnasium environment, and adapt its spaces to TorchRL.

    - A ``Dict`` action space is nested below ``"action"``, so that a mixed policy finds its parts there; a ``Discrete``
      space that starts elsewhere than 0 is shifted to 0.
    - Entries of ``info`` become observations: numbers and bools as float32, scalars with shape ``[1]``, 0 where a reset
      does not report them.
    - Rewards that are not real numbers, observations of another shape or of complex numbers, missing entries, and goals
      that change within an episode are errors. Values outside their space are logged once.

    Args:
        env: the environment.
        info_keys: entries of ``info``.

    Raises:
        TypeError: if the action space is a ``Tuple``, which TorchRL cannot represent.
        KeyError: if ``info`` lacks one of the keys at a reset and at a step.
    """

    def __init__(self, env: gymnasium.Env, info_keys: Sequence[str] = ()) -> None:
        super().__init__(env)
        self.name = type(env.unwrapped).__name__
        space: Any = env.action_space
        if isinstance(space, spaces.Tuple):
            raise TypeError(refusal(self.name, "action_space", "a Box, Discrete, MultiDiscrete or Dict space", space))
        self.nested = isinstance(space, spaces.Dict)
        self.first = int(space.start) if isinstance(space, spaces.Discrete) else 0
        if self.nested:
            self.action_space = spaces.Dict(action=space)
        elif self.first:
            self.action_space = spaces.Discrete(int(space.n))
        self.info = info_spaces(env, info_keys) if info_keys else {}
        if self.info:
            entries = env.observation_space.spaces if isinstance(env.observation_space, spaces.Dict) else {}
            if not entries or set(entries) & set(self.info):
                raise ValueError(
                    refusal(self.name, "info_keys", "new entries of a Dict observation", sorted(self.info))
                )
            self.observation_space = spaces.Dict({**entries, **self.info})
        self.goal: Any = None
        self.warned: set[str] = set()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and store the goal of the episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.goal = None
        zeros = {key: np.zeros(space.shape, np.float32) for key, space in self.info.items()}
        return self._observed(observation, zeros | {key: info[key] for key in self.info if key in info}), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step with an action in TorchRL's format."""
        observation, reward, terminated, truncated, info = self.env.step(self._unpacked(action))
        missing = [key for key in self.info if key not in info]
        if missing:
            raise KeyError(refusal(self.name, "info", f"with {missing}", sorted(info)))
        return self._observed(observation, info), self._real("reward", reward), terminated, truncated, info

    def _unpacked(self, action: Any) -> Any:
        if self.nested:
            inner: Any = self.env.action_space
            # TorchRL does not wrap an action of a single part in a dictionary.
            return action["action"] if isinstance(action, Mapping) else {next(iter(inner.spaces)): action}
        return action + self.first if self.first else action

    def _observed(self, observation: Any, info: Mapping[str, Any]) -> Any:
        if not isinstance(self.observation_space, spaces.Dict):
            self._check("observation", self.observation_space, observation)
            return observation
        known = self.observation_space.spaces
        found = {**observation, **{key: _number(self.name, key, info[key]) for key in self.info}}
        if found.keys() != known.keys():
            raise KeyError(refusal(self.name, "observation", f"with the entries {sorted(known)}", sorted(found)))
        for key, space in known.items():
            self._check(key, space, found[key])
        goal: Any = found.get(_GOAL)
        # FiniteGuard reports goals that are not finite.
        if self.goal is not None and np.isfinite(goal).all() and not np.array_equal(self.goal, goal):
            expected = f"the {self.goal} of the episode's first step (give the environment fixed goals)"
            raise ValueError(refusal(self.name, _GOAL, expected, goal))
        self.goal = None if goal is None else np.array(goal)
        return found

    def _check(self, key: str, space: gymnasium.Space, value: Any) -> None:
        if not isinstance(space, spaces.Box):
            return
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise ValueError(refusal(self.name, key, "of real numbers", array.dtype))
        if array.shape != space.shape:
            raise ValueError(refusal(self.name, key, f"of shape {space.shape}", array.shape))
        outside = (array < space.low) | (array > space.high)
        if outside.any() and key not in self.warned:
            self.warned.add(key)
            place = tuple(np.argwhere(outside)[0].tolist())
            bounds = f"[{space.low[place]}, {space.high[place]}]"
            torchrl_logger.warning(
                f"{self.name}: {key!r} is {array[place]} at {list(place)}, outside its space {bounds} (logged once)"
            )

    def _real(self, name: str, value: Any) -> float:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.size != 1:
            raise ValueError(refusal(self.name, name, "one real number", value))
        return float(array.item())


def info_spaces(env: gymnasium.Env, keys: Sequence[str]) -> dict[str, spaces.Box]:
    """Find float32 spaces of entries of ``info``, from a reset and, if missing there, from a random step."""
    info = env.reset(seed=0)[1]
    if not set(keys) <= info.keys():
        env.action_space.seed(0)
        info = {**info, **env.step(env.action_space.sample())[4]}
    missing = [key for key in keys if key not in info]
    if missing:
        raise KeyError(refusal("make_goal_env", "info_keys", "entries of info", missing, sorted(info)))
    shapes = {key: _number("make_goal_env", key, info[key]).shape for key in keys}
    return {key: spaces.Box(-np.inf, np.inf, shape, np.float32) for key, shape in shapes.items()}


def _number(owner: object, key: str, value: Any) -> np.ndarray:
    array = np.atleast_1d(np.asarray(value))
    if array.dtype.kind not in "fiub":
        raise ValueError(refusal(owner, f"info[{key!r}]", "a number, a bool or an array of them", value))
    return array.astype(np.float32)


def from_gymnasium(env: gymnasium.Env, info_keys: Sequence[str] = ()) -> GymWrapper:
    """Wrap a gymnasium environment for TorchRL, with discrete actions as indices; refuse anything else."""
    if not isinstance(env, gymnasium.Env):
        expected = "an environment of TorchRL or gymnasium, or a function that makes one"
        raise TypeError(refusal("make_goal_env", "name", expected, type(env).__name__))
    return GymWrapper(CheckedEnv(env, info_keys), categorical_action_encoding=True)
