"""Sample rows of stored episodes for off-policy updates, and relabel a share of them."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import count, flag, number, refusal
from torchrl_htrpo.batch.rows import unravel
from torchrl_htrpo.batch.transform import HINDSIGHT_GOAL, HINDSIGHT_GOAL_MASK, BatchTransform
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.envs.goal import GoalTask
from torchrl_htrpo.hindsight.goal_sampler import require_goals

_TERMINATED, _TRUNCATED, _DONE = ("next", "terminated"), ("next", "truncated"), ("next", "done")


class HindsightReplay(BatchTransform):
    r"""Sample steps of a batch of episodes ``[*B, T]`` and relabel a share of them: rows ``[M]`` (HER).

    Samples steps uniformly from the valid ones, with replacement. With probability ``share`` the goal of a step becomes
    one of the hindsight goals that a goal sampler wrote for it (:class:`FutureGoalSampler`, :class:`FinalGoalSampler`,
    :class:`HGFGoalSampler`, ...; if several, one at random). Computes the reward again with each row as an episode of
    one step, so ``sparse`` is the 0/1 reward and ``her`` the -1/0 reward. After a goal sampler in a ``ReplayBuffer`` of
    episodes, this is hindsight experience replay.

    Writes the goals, ``original_goal`` and ``("next", "reward" | "terminated" | "done")``; does not modify the input.

    Args:
        task: where the goals are, when one is reached, and the reward.
        num_rows: rows to draw (``M``).
        share: of relabelled rows; HER's :math:`k / (k + 1)`, 0.8 for four hindsight goals to one original.
        success_terminates: whether reaching the goal ends the episode, so that no value is bootstrapped there. HER's
            authors continue after a success (an arm must stay at its goal); set True if only reaching the goal counts.
            Collected terminations that were no success (such as a fall) stay in either case.
        generator: source of randomness; default: torch's own.

    Raises:
        KeyError: if an entry is missing.
        ValueError: if ``num_rows`` is not positive or ``share`` outside [0, 1]; if the goals have another size than the
            task's, a row holds several trajectories, no step is valid, or a relabelled reward is not finite (the last
            three are checks of values).

    Example:
        >>> from torchrl.data import LazyTensorStorage, ReplayBuffer
        >>> from torchrl.envs import Compose
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.hindsight import FutureGoalSampler
        >>> env = BitFlipEnv(4, num_envs=3)
        >>> relabel = Compose(FutureGoalSampler(), HindsightReplay(env.task("her"), num_rows=256))
        >>> buffer = ReplayBuffer(storage=LazyTensorStorage(100), transform=relabel, batch_size=8)
        >>> index = buffer.extend(env.rollout(4))
        >>> buffer.sample().shape
        torch.Size([256])

    Source: `Hindsight Experience Replay <https://arxiv.org/abs/1707.01495>`_, Algorithm 1.
    """

    def __init__(
        self,
        task: GoalTask,
        num_rows: int,
        *,
        share: float = 0.8,
        success_terminates: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        count(self, "num_rows", num_rows)
        number(self, "share", share, 0, 1)
        flag(self, "success_terminates", success_terminates)
        super().__init__(
            in_keys=[HINDSIGHT_GOAL, task.desired_goal, task.next_achieved_goal, _TERMINATED, _TRUNCATED],
            out_keys=[
                "original_goal",
                task.desired_goal,
                task.next_desired_goal,
                ("next", "reward"),
                _TERMINATED,
                _DONE,
            ],
        )
        self.task, self.num_rows, self.share = task, num_rows, share
        self.success_terminates, self.generator = success_terminates, generator

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Draw rows ``[M]`` of a batch of episodes that carries hindsight goals."""
        goals, *_ = self._require(tensordict, *self.in_keys)
        require_goals(self, tensordict, self.task)
        where = self._steps(self._first_trajectory(tensordict))
        rows = tensordict.exclude("hindsight")[where]
        failed = self.task.failure(rows)
        original = rows.get(self.task.desired_goal)
        goal = self._goals(tensordict, goals, where, original)
        rows.set("original_goal", original)
        rows.set(self.task.desired_goal, goal)
        rows.set(self.task.next_desired_goal, goal)
        return self._reward(rows, failed)

    def _steps(self, valid: Tensor) -> tuple[Tensor, ...]:
        if may_wait(valid.device) and not valid.any():
            raise ValueError(refusal(self, "input", "a batch with a valid step", "none"))
        chance = valid.reshape(-1).float()
        index = torch.multinomial(chance, self.num_rows, replacement=True, generator=self.generator)
        return unravel(index, valid.shape)

    def _goals(self, tensordict: TensorDictBase, goals: Tensor, where: tuple[Tensor, ...], original: Tensor) -> Tensor:
        """Hindsight goals for a share of the rows; original goals for the others and where no hindsight goal exists."""
        mask = tensordict.get(HINDSIGHT_GOAL_MASK, default=None)
        shape = (self.num_rows, goals.shape[-2])
        score = torch.rand(shape, device=goals.device, generator=self.generator)
        score = score if mask is None else score.masked_fill(~mask[where], -1.0)
        best, choice = score.max(-1)
        chance = torch.rand(self.num_rows, device=goals.device, generator=self.generator)
        relabelled = (chance < self.share) & (best >= 0)
        return torch.where(relabelled.unsqueeze(-1), goals[*where, choice], original)

    def _reward(self, rows: TensorDictBase, failed: Tensor) -> TensorDictBase:
        reward = self.task.compute_reward(rows.unsqueeze(-1)).squeeze(1)
        self._refuse_non_finite(("next", "reward"), reward, torch.ones_like(failed))
        rows.set(("next", "reward"), reward)
        terminated = (failed | self.task.success(rows) if self.success_terminates else failed).unsqueeze(-1)
        rows.set(_TERMINATED, terminated)
        return rows.set(_DONE, terminated | rows.get(_TRUNCATED))
