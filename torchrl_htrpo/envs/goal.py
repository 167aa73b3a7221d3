"""Goal tasks: goal keys, success criteria, rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, get_args

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from torch import Tensor
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import choice, flag, number, refusal
from torchrl_htrpo.envs.env_reward import EnvReward, compute_reward_of, success_of

RewardName = Literal["sparse", "paper_code", "her", "dense"]
Aim = Literal["reach", "stay"]
ReachedFn = Callable[[Tensor, Tensor], Tensor]
RewardFn = Callable[[TensorDictBase], Tensor]


@dataclass(frozen=True)
class WithinDistance:
    """A goal is reached when the achieved goal is nearer than a threshold: ``|achieved - desired|_2 < threshold``.

    Args:
        threshold: in the units of the goal (metres for Fetch, where the threshold is 0.05).

    Example:
        >>> WithinDistance(0.05)(torch.tensor([[0.0, 0.03], [0.0, 0.06]]), torch.zeros(2, 2))
        tensor([ True, False])
    """

    threshold: float

    def __post_init__(self) -> None:
        number(self, "threshold", self.threshold, 0, above=True)

    def __call__(self, achieved: Tensor, desired: Tensor) -> Tensor:
        """Booleans ``[*B]`` for goals ``[*B, d_g]``."""
        return torch.linalg.vector_norm(achieved - desired, dim=-1) < self.threshold


@dataclass(frozen=True)
class EqualGoals:
    """A goal is reached when the achieved goal equals it (bits, cells of a map).

    Example:
        >>> EqualGoals()(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.ones(2))
        tensor([False,  True])
    """

    def __call__(self, achieved: Tensor, desired: Tensor) -> Tensor:
        """Booleans ``[*B]`` for goals ``[*B, d_g]``."""
        return (achieved == desired).all(-1)


@dataclass(frozen=True)
class GoalTask:
    r"""A goal-reaching task: the keys of the goals, the success criterion, and the reward.

    The reward presets, for a success first seen at step :math:`t` (from 0) of :math:`T`:

    ============== ==========================================================================
    ``sparse``     0, then :attr:`success_reward` once, at the first success (the paper's). With ``aim="stay"``
                   :attr:`success_reward` for every step that ends at the goal
    ``paper_code`` 0, then :math:`T - t` at the first success (the authors' code)
    ``her``        :math:`-1` on every step that does not end at the goal, else 0
    ``dense``      :math:`-|achieved - desired|_2`
    ============== ==========================================================================

    Args:
        reached: ``(achieved [*B, d_g], desired [*B, d_g]) -> bool [*B]``.
        reward: a preset, or a function of the whole (relabelled) tensordict ``[*B, T] -> [*B, T, 1]``, so that
            a reward may also read actions or ``info`` entries.
        success_reward: the reward of ``sparse``.
        achieved_goal: key of the achieved goal; its state after the step is read under ``"next"``.
        desired_goal: key of the desired goal.
        ends_at_success: whether the environment terminates an episode where its goal is reached, so that such a
            termination is no failure. Set ``False`` if it terminates for other reasons only (such as a fall), or never.
        aim: ``"reach"``: a hindsight pair ends at its first success (as in the paper). ``"stay"``: it continues to the
            end of its trajectory, so that the policy also learns to stay at its goal. Values then sum many rewards:
            choose ``success_reward`` so that a whole episode at the goal is worth about 10.

    Raises:
        ValueError: if ``reward`` is neither a preset nor callable, or ``aim`` is unknown.

    Example:
        >>> task = GoalTask(WithinDistance(0.05), reward="her")
        >>> task.reached(torch.zeros(3), torch.full((3,), 0.01))
        tensor(True)

    Source: `Hindsight Trust Region Policy Optimization <https://arxiv.org/abs/1907.12439>`_, Section 5 and F.1.
    """

    reached: ReachedFn
    reward: RewardName | RewardFn = "sparse"
    success_reward: float = 1.0
    achieved_goal: NestedKey = "achieved_goal"
    desired_goal: NestedKey = "desired_goal"
    ends_at_success: bool = True
    aim: Aim = "reach"

    def __post_init__(self) -> None:
        number(self, "success_reward", self.success_reward, 0, above=True)
        flag(self, "ends_at_success", self.ends_at_success)
        choice(self, "aim", self.aim, get_args(Aim))
        if not callable(self.reward) and self.reward not in _PRESETS:
            raise ValueError(refusal(self, "reward", "a preset or a callable", self.reward, _PRESETS))

    @classmethod
    def from_gymnasium(
        cls, env: Any, *, reached: ReachedFn | None = None, info_keys: Sequence[str] = (), **kwargs: Any
    ) -> GoalTask:
        """The task of a gymnasium environment, by its own ``compute_reward(achieved, desired, info)``.

        Args:
            env: the environment, or what :func:`~torchrl_htrpo.envs.make_goal_env` made of it in this process.
            reached: when a goal is reached. Default: where ``compute_reward`` is at least its value at the goal.
            info_keys: entries of ``info`` that it reads, as given to ``make_goal_env``; it gets arrays of all steps.
            **kwargs: of :class:`GoalTask`; ``reward="sparse"`` takes only the success from the environment.

        Returns:
            The task.

        Raises:
            TypeError: if the environment has no ``compute_reward``.
            ValueError: if ``reached`` cannot be derived from the reward, which is dense or reads ``info``, or the
                function does not take many goals at once.

        Example:
            >>> import gymnasium, gymnasium_robotics
            >>> task = GoalTask.from_gymnasium(gymnasium.make("FetchReach-v4"))
            >>> task.reached(torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.04], [0.0, 0.0, 0.06]]))
            tensor([ True, False])
        """
        compute, goal_size = compute_reward_of(env)
        if reached is None and info_keys:
            raise ValueError(refusal(cls.__name__, "reached", "given with info_keys", None))
        keys = {name: kwargs.get(name, name) for name in ("achieved_goal", "desired_goal")}
        reward = kwargs.pop("reward", None) or EnvReward(compute, tuple(info_keys), **keys)
        return cls(reached or success_of(compute, goal_size), reward, **kwargs)

    def check(self, env: EnvBase) -> None:
        """Raise if an environment lacks this task's goals.

        A KeyError names missing goals, a ValueError goals that are not floats or differ in shape.
        """
        keys = (self.achieved_goal, self.desired_goal)
        there = list(env.observation_spec.keys(True, True))
        missing = [key for key in keys if unravel_key(key) not in there]
        if missing:
            raise KeyError(refusal(self, "env", f"an environment with {missing}", there))
        achieved, desired = (env.observation_spec[key] for key in keys)
        for key, spec in zip(keys, (achieved, desired), strict=True):
            if not spec.dtype.is_floating_point:
                raise ValueError(refusal(self, repr(key), "of floats", spec.dtype))
        if achieved.shape != desired.shape:
            expected = f"of the shape {list(desired.shape)} of {self.desired_goal!r}"
            raise ValueError(refusal(self, repr(self.achieved_goal), expected, list(achieved.shape)))

    @property
    def next_achieved_goal(self) -> NestedKey:
        """Key of the achieved goal after the step."""
        return unravel_key(("next", self.achieved_goal))

    @property
    def next_desired_goal(self) -> NestedKey:
        """Key of the desired goal after the step."""
        return unravel_key(("next", self.desired_goal))

    @property
    def reward_range(self) -> tuple[float, float]:
        """Lowest and highest reward of a step; infinite where the preset has no bound."""
        if callable(self.reward):
            return -inf, inf
        ranges = {"sparse": (0.0, self.success_reward), "her": (-1.0, 0.0), "dense": (-inf, 0.0)}
        return ranges.get(self.reward, (0.0, inf))

    def success(self, tensordict: TensorDictBase) -> Tensor:
        """Whether each step ``[*B]`` ends with its goal reached."""
        return self.reached(tensordict.get(self.next_achieved_goal), tensordict.get(self.desired_goal))

    def failure(self, tensordict: TensorDictBase) -> Tensor:
        """Whether each collected step ``[*B]`` ended its episode without a success, such as by a fall."""
        terminated = tensordict.get(("next", "terminated")).squeeze(-1)
        return terminated & ~self.success(tensordict) if self.ends_at_success else terminated

    def compute_reward(self, tensordict: TensorDictBase) -> Tensor:
        """Compute the reward of each step for its desired goal: trajectories ``[*B, T]`` to ``[*B, T, 1]``.

        Raise a ValueError if a reward function returns another shape.
        """
        if callable(self.reward):
            reward, shape = self.reward(tensordict), (*tensordict.batch_size, 1)
            if reward.shape != shape:
                raise ValueError(refusal(self, "reward", f"a function to the shape {shape}", tuple(reward.shape)))
            return reward
        return _PRESETS[self.reward](self, tensordict).unsqueeze(-1)


def first(success: Tensor) -> Tensor:
    """Keep only the first success along time: booleans ``[*B, T]``, at most one per trajectory.

    Example:
        >>> first(torch.tensor([False, True, False, True]))
        tensor([False,  True, False, False])
    """
    return success & (success.cumsum(-1) == 1)


def _float_like(task: GoalTask, tensordict: TensorDictBase, values: Tensor) -> Tensor:
    return values.to(tensordict.get(task.next_achieved_goal).dtype)


def _sparse(task: GoalTask, tensordict: TensorDictBase) -> Tensor:
    success = task.success(tensordict)
    rewarded = first(success) if task.aim == "reach" else success
    return task.success_reward * _float_like(task, tensordict, rewarded)


def _paper_code(task: GoalTask, tensordict: TensorDictBase) -> Tensor:
    success = first(task.success(tensordict))
    steps_left = torch.arange(success.shape[-1], 0, -1, device=success.device)
    return _float_like(task, tensordict, success * steps_left)


def _her(task: GoalTask, tensordict: TensorDictBase) -> Tensor:
    return _float_like(task, tensordict, task.success(tensordict)) - 1


def _dense(task: GoalTask, tensordict: TensorDictBase) -> Tensor:
    offset = tensordict.get(task.next_achieved_goal) - tensordict.get(task.desired_goal)
    return -torch.linalg.vector_norm(offset, dim=-1)


_PRESETS = {"sparse": _sparse, "paper_code": _paper_code, "her": _her, "dense": _dense}
