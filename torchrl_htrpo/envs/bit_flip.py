"""Bit Flipping: the smallest task on which exploration without hindsight is hopeless."""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.envs.goal import GoalTask, RewardFn, RewardName, same
from torchrl_htrpo.envs.randomness import GeneratorState

# Beyond these the number of a goal overflows an int64, and the goal of zeros is never met anyway.
_MAX_INDEXED_BITS = 62


class BitFlipEnv(GeneratorState, EnvBase):
    """Flip one of ``num_bits`` bits per step until they equal the goal; ``num_bits`` steps, start from zeros.

    Batched, torch-native, on any device. Every episode has exactly ``num_bits`` steps: a success does not end it
    (what follows is still worth relabelling), so batches are whole episodes without padding. Goals are uniform over
    all strings but the zeros an episode starts from.

    Keys: ``observation``, ``achieved_goal`` and ``desired_goal`` ``[N, num_bits]`` (0. or 1.), ``action`` ``[N]``
    (the index of the bit), ``reward`` ``[N, 1]`` (-1, and 0 where the goal holds), ``is_success`` ``[N, 1]``.

    Args:
        num_bits: bits of the string, also the length of an episode in steps.
        num_envs: strings flipped at once (``N``).
        seed: seed of the goals.
        device: where the environment lives.

    Raises:
        ValueError: if ``num_bits`` or ``num_envs`` is not positive.

    Example:
        >>> env = BitFlipEnv(num_bits=8, num_envs=4)
        >>> env.rollout(8).shape
        torch.Size([4, 8])

    Source: `Hindsight Experience Replay <https://arxiv.org/abs/1707.01495>`_, Section 3.1;
    `HTRPO <https://arxiv.org/abs/1907.12439>`_, F.1.
    """

    batch_locked = True

    def __init__(
        self,
        num_bits: int,
        num_envs: int = 1,
        *,
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        for name, value in (("num_bits", num_bits), ("num_envs", num_envs)):
            if value < 1:
                raise ValueError(refusal("BitFlipEnv", name, "a positive integer", value))
        super().__init__(device=device, batch_size=torch.Size([num_envs]))
        self.num_bits = num_bits
        bits = Unbounded((num_envs, num_bits), device=device)
        flag = Binary(n=1, shape=(num_envs, 1), dtype=torch.bool, device=device)
        self.observation_spec = Composite(
            observation=bits,
            achieved_goal=bits.clone(),
            desired_goal=bits.clone(),
            is_success=flag,
            step_count=Unbounded((num_envs, 1), dtype=torch.int64, device=device),
            shape=self.batch_size,
            device=device,
        )
        self.action_spec = Categorical(num_bits, shape=(num_envs,), device=device)
        self.reward_spec = Unbounded((num_envs, 1), device=device)
        self.done_spec = Composite(
            done=flag.clone(), terminated=flag.clone(), truncated=flag.clone(), shape=self.batch_size, device=device
        )
        self.set_seed(seed if seed is not None else int(torch.empty((), dtype=torch.int64).random_()))

    def task(self, reward: RewardName | RewardFn = "paper_code", success_reward: float = 1.0) -> GoalTask:
        """The goal task of this environment: equality of all bits."""
        return GoalTask(same, reward, success_reward)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        goal = self._draw_goals()
        # A partial reset needs no merging here: TorchRL keeps the entries of the strings that go on.
        return self._state(torch.zeros_like(goal), goal, self._zeros(torch.int64))

    def _draw_goals(self) -> Tensor:
        shape = (*self.batch_size, self.num_bits)
        if self.num_bits > _MAX_INDEXED_BITS:
            return torch.randint(2, shape, generator=self.generator, device=self.device).float()
        # Numbers from 1: the goal of zeros holds before the first action, so there would be nothing to reach.
        index = torch.randint(1, 2**self.num_bits, shape[:1], generator=self.generator, device=self.device)
        return ((index.unsqueeze(-1) >> torch.arange(self.num_bits, device=self.device)) & 1).float()

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        bits, goal = tensordict.get("observation"), tensordict.get("desired_goal")
        flip = torch.nn.functional.one_hot(tensordict.get("action").long(), self.num_bits).to(bits.dtype)
        state = self._state((bits - flip).abs(), goal, tensordict.get("step_count") + 1)
        return state.set("reward", state.get("is_success").to(bits.dtype) - 1)

    def _state(self, bits: Tensor, goal: Tensor, steps: Tensor) -> TensorDict:
        truncated = steps >= self.num_bits
        return TensorDict(
            observation=bits,
            achieved_goal=bits.clone(),
            desired_goal=goal,
            is_success=same(bits, goal).unsqueeze(-1),
            step_count=steps,
            done=truncated,
            truncated=truncated.clone(),
            terminated=self._zeros(torch.bool),
            batch_size=self.batch_size,
            device=self.device,
        )

    def _zeros(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros(*self.batch_size, 1, dtype=dtype, device=self.device)
