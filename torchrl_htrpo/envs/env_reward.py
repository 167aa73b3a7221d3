"""The reward and the success of a gymnasium environment, from its own ``compute_reward(achieved, desired, info)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import NestedKey, TensorDictBase, unravel_key
from torch import Tensor

from torchrl_htrpo._errors import refusal

ComputeReward = Callable[[NDArray[np.float64], NDArray[np.float64], Any], Any]
_OWNER = "GoalTask.from_gymnasium"


@dataclass(frozen=True)
class EnvReward:
    """Rewards ``[*B, T, 1]`` of a tensordict, by the environment's function.

    It maps ``(achieved [M, d_g], desired [M, d_g], info)`` to ``[M]``; ``info`` has an array ``[M, ...]`` (``[M]`` for
    scalars) for each of ``info_keys``, which ``make_goal_env(..., info_keys=...)`` has collected.
    """

    compute: ComputeReward
    info_keys: Sequence[str]
    achieved_goal: NestedKey
    desired_goal: NestedKey

    def __call__(self, tensordict: TensorDictBase) -> Tensor:
        """Compute the rewards."""
        achieved = tensordict.get(unravel_key(("next", self.achieved_goal)))
        desired = tensordict.get(self.desired_goal)
        info = {key: _scalars(_rows(tensordict.get(("next", key)))) for key in self.info_keys}
        reward = np.asarray(self.compute(_rows(achieved), _rows(desired.expand_as(achieved)), info))
        return torch.as_tensor(reward, dtype=achieved.dtype, device=achieved.device).reshape(*achieved.shape[:-1], 1)


@dataclass(frozen=True)
class EnvReached:
    """Whether goals are reached: the reward, which may not read ``info``, is at least the reward at the goal."""

    compute: ComputeReward

    def __call__(self, achieved: Tensor, desired: Tensor) -> Tensor:
        """Booleans ``[*B]`` for goals ``[*B, d_g]``."""
        achieved, desired = torch.broadcast_tensors(achieved, desired)
        at, to = _rows(achieved), _rows(desired)
        reached = np.asarray(self.compute(at, to, {})) >= np.asarray(self.compute(to, to, {}))
        return torch.as_tensor(reached, device=achieved.device).reshape(achieved.shape[:-1])


def compute_reward_of(env: Any) -> tuple[ComputeReward, int]:
    """Get ``compute_reward`` and the goal size of a gymnasium environment, or of the first that ``make_goal_env`` made.

    Raise a TypeError if there is no such function in this process.
    """
    while hasattr(env, "base_env") and not hasattr(env, "unwrapped"):
        env = env.base_env
    inner = getattr(getattr(env, "inner", None), "_envs", None)  # of an EnvBatch
    gym = getattr(inner[0] if inner else env, "unwrapped", None)
    compute = getattr(gym, "compute_reward", None)
    if gym is None or not callable(compute):
        expected = (
            "a gymnasium environment (of this process) with compute_reward(achieved, desired, info); "
            "for another one write GoalTask(WithinDistance(...))"
        )
        raise TypeError(refusal(_OWNER, "env", expected, type(env).__name__))
    return compute, gym.observation_space["desired_goal"].shape[-1]


def success_of(compute: ComputeReward, goal_size: int) -> EnvReached:
    """Derive the success criterion from a sparse reward.

    Raise a ValueError if the function does not take many goals at once, or if its reward changes with any distance:
    then it has no success.
    """
    goals = np.zeros((3, goal_size))
    at, beside = (np.asarray(compute(achieved, goals, {})) for achieved in (goals, goals + 1e-6))
    if at.shape != (3,):
        expected = "one whose compute_reward takes goals [M, d] and returns rewards [M]"
        raise ValueError(refusal(_OWNER, "env", expected, f"shape {at.shape} for 3 goals"))
    if not np.array_equal(at, beside):
        expected = (
            "given (WithinDistance(...) or EqualGoals()), as compute_reward changes with every distance from the goal"
        )
        raise ValueError(refusal(_OWNER, "reached", expected, None))
    return EnvReached(compute)


def _rows(values: Tensor) -> NDArray[np.float64]:
    return values.detach().cpu().double().reshape(-1, values.shape[-1]).numpy()


def _scalars(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows[:, 0] if rows.shape[1] == 1 else rows
