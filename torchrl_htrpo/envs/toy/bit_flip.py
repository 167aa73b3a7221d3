"""Bit Flipping: a small task that exploration without hindsight does not solve."""

from __future__ import annotations

import torch
from torch import Tensor
from torchrl.data import Categorical

from torchrl_htrpo._errors import count
from torchrl_htrpo.envs.goal import EqualGoals, GoalTask, RewardFn, RewardName
from torchrl_htrpo.envs.toy.position_goal import PositionGoalEnv

# With more bits the number of a goal overflows int64, and the goal of zeros has no practical probability.
_MAX_INDEXED_BITS = 62


class BitFlipEnv(PositionGoalEnv):
    """Flip one of ``num_bits`` bits per step until they equal the goal; ``num_bits`` steps, start from zeros.

    Batched, torch-native, on any device. Every episode has exactly ``num_bits`` steps: a success does not end it (later
    steps serve other goals), so batches are whole episodes without padding. Goals are uniform over all strings but the
    zeros in which an episode starts.

    Keys: ``observation``, ``achieved_goal`` and ``desired_goal`` ``[N, num_bits]`` (0. or 1.), ``action`` ``[N]``
    (the index of the bit), and the others of :class:`PositionGoalEnv`.

    Args:
        num_bits: bits of the string, also the length of an episode in steps.
        num_envs: strings flipped at once (``N``).
        seed: seed of the goals.
        device: of the environment.

    Raises:
        ValueError: if ``num_bits`` or ``num_envs`` is not positive.

    Example:
        >>> env = BitFlipEnv(num_bits=8, num_envs=4)
        >>> env.rollout(8).shape
        torch.Size([4, 8])

    Source: `Hindsight Experience Replay <https://arxiv.org/abs/1707.01495>`_, Section 3.1;
    `HTRPO <https://arxiv.org/abs/1907.12439>`_, F.1.
    """

    def __init__(
        self,
        num_bits: int,
        num_envs: int = 1,
        *,
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        count(self, "num_bits", num_bits)
        count(self, "num_envs", num_envs)
        self.num_bits = num_bits
        action = Categorical(num_bits)
        super().__init__(
            action, num_bits, num_bits, EqualGoals(), horizon=num_bits, num_envs=num_envs, seed=seed, device=device
        )

    def task(self, reward: RewardName | RewardFn = "paper_code", success_reward: float = 1.0) -> GoalTask:
        """The goal task of this environment: equality of all bits."""
        return super().task(reward, success_reward)

    def sample_start_and_goal(self) -> tuple[Tensor, Tensor]:
        """See :meth:`PositionGoalEnv.sample_start_and_goal`."""
        goal = self._draw_goals()
        return torch.zeros_like(goal), goal

    def _draw_goals(self) -> Tensor:
        shape = (*self.batch_size, self.num_bits)
        if self.num_bits > _MAX_INDEXED_BITS:
            return torch.randint(2, shape, generator=self.generator, device=self.device).float()
        # Start at 1: the goal of zeros would be reached before the first action.
        index = torch.randint(1, 2**self.num_bits, shape[:1], generator=self.generator, device=self.device)
        return ((index.unsqueeze(-1) >> torch.arange(self.num_bits, device=self.device)) & 1).float()

    def move(self, position: Tensor, action: Tensor) -> Tensor:  # type: ignore[override]
        """See :meth:`PositionGoalEnv.move`."""
        flip = torch.nn.functional.one_hot(action.long(), self.num_bits)
        return (position - flip.to(position.dtype)).abs()
