"""Base class of small torch-native goal tasks: specs, seeds, whole episodes."""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Composite, TensorSpec, Unbounded
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import count
from torchrl_htrpo.envs.goal import GoalTask, ReachedFn, RewardFn, RewardName
from torchrl_htrpo.envs.randomness import GeneratorState, first_seed


class PositionGoalEnv(GeneratorState, EnvBase):
    """Move a position to a goal; episodes of exactly ``horizon`` steps.

    Batched, torch-native, on any device. A success does not end an episode: later steps serve other goals, and batches
    are whole episodes without padding. Subclasses implement :meth:`sample_start_and_goal` and :meth:`move`, and may
    override :meth:`observe`.

    Keys: ``observation`` ``[N, d_o]``, ``achieved_goal`` (the position) and ``desired_goal`` ``[N, d_g]``, ``reward``
    ``[N, 1]`` (-1, and 0 where the goal holds), ``is_success`` ``[N, 1]``, ``step_count`` ``[N, 1]``.

    Args:
        action_spec: the action of one environment, or a composite of its parts.
        observation_size: ``d_o``.
        goal_size: ``d_g``.
        reached: success criterion: :class:`WithinDistance`, :class:`EqualGoals`, or your own.
        horizon: steps of an episode.
        num_envs: how many run at once (``N``).
        seed: seed of the goals.
        device: of the environment.

    Raises:
        ValueError: if ``horizon`` or ``num_envs`` is not positive.
    """

    batch_locked = True

    def __init__(
        self,
        action_spec: TensorSpec,
        observation_size: int,
        goal_size: int,
        reached: ReachedFn,
        *,
        horizon: int,
        num_envs: int,
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        for name, value in (("horizon", horizon), ("num_envs", num_envs)):
            count(self, name, value)
        super().__init__(device=device, batch_size=torch.Size([num_envs]))
        self.horizon, self.reached = horizon, reached
        goal = Unbounded((num_envs, goal_size), device=device)
        flag = Binary(n=1, shape=(num_envs, 1), dtype=torch.bool, device=device)
        self.observation_spec = Composite(
            observation=Unbounded((num_envs, observation_size), device=device),
            achieved_goal=goal,
            desired_goal=goal.clone(),
            is_success=flag,
            step_count=Unbounded((num_envs, 1), dtype=torch.int64, device=device),
            shape=self.batch_size,
            device=device,
        )
        action = action_spec.expand(num_envs, *action_spec.shape)
        action = action if device is None else action.to(device)
        self.full_action_spec = Composite(action=action, shape=self.batch_size, device=device)
        self.reward_spec = Unbounded((num_envs, 1), device=device)
        self.done_spec = Composite(
            done=flag.clone(), terminated=flag.clone(), truncated=flag.clone(), shape=self.batch_size, device=device
        )
        self.set_seed(first_seed(self, seed))

    def sample_start_and_goal(self) -> tuple[Tensor, Tensor]:
        """Sample start positions and goals, each ``[N, d_g]``, with :attr:`generator`."""
        raise NotImplementedError

    def move(self, position: Tensor, action: Tensor | TensorDictBase) -> Tensor:
        """Compute the positions ``[N, d_g]`` after an action."""
        raise NotImplementedError

    def observe(self, position: Tensor) -> Tensor:
        """Compute the observation ``[N, d_o]``; default: the position."""
        return position.clone()

    def task(self, reward: RewardName | RewardFn = "sparse", success_reward: float = 1.0) -> GoalTask:
        """The goal task of this environment, with its own success criterion."""
        return GoalTask(self.reached, reward, success_reward)

    def uniform(self, size: int) -> Tensor:
        """Sample numbers in [-1, 1) ``[N, size]`` with :attr:`generator`."""
        return 2 * torch.rand((*self.batch_size, size), generator=self.generator, device=self.device) - 1

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        # TorchRL merges partial resets: it keeps the entries of environments that are not reset.
        position, goal = self.sample_start_and_goal()
        return self._state(position, goal, self._zeros(torch.int64))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        position = self.move(tensordict.get("achieved_goal"), tensordict.get("action"))
        state = self._state(position, tensordict.get("desired_goal"), tensordict.get("step_count") + 1)
        return state.set("reward", state.get("is_success").to(position.dtype) - 1)

    def _state(self, position: Tensor, goal: Tensor, steps: Tensor) -> TensorDict:
        truncated = steps >= self.horizon
        return TensorDict(
            observation=self.observe(position),
            achieved_goal=position,
            desired_goal=goal,
            is_success=self.reached(position, goal).unsqueeze(-1),
            step_count=steps,
            done=truncated,
            truncated=truncated.clone(),
            terminated=self._zeros(torch.bool),
            batch_size=self.batch_size,
            device=self.device,
        )

    def _zeros(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros(*self.batch_size, 1, dtype=dtype, device=self.device)
