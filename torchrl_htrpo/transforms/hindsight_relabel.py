"""Trajectories seen again with the goals they might have had."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase, unravel_key
from torch import Tensor

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.envs.goal import GoalTask
from torchrl_htrpo.transforms.base import (
    HINDSIGHT_GOAL,
    HINDSIGHT_GOAL_MASK,
    MASK_KEY,
    BatchTransform,
    validity,
)
from torchrl_htrpo.transforms.functional import cut_at_first_success


class HindsightRelabel(BatchTransform):
    """Relabel trajectories ``[*B, T]`` with ``G`` hindsight goals: ``[G, *B, T]``.

    The goal is replaced at the root and under ``"next"``, the reward computed again from the whole tensordict, and each
    (goal, trajectory) pair cut at its first success: ``terminated`` there, masked after. Pairs whose goal held before
    the first action are masked whole. ``truncated`` stays what it was. Entries that do not change are views of the
    collected ones; nothing is written to the input.

    Writes ``original_goal``, the goals, ``("next", "reward" | "terminated" | "truncated" | "done")`` and the mask of
    live steps ``("collector", "mask")``, which TorchRL's losses honour.

    Args:
        task: where the goals are, when one is reached, and the reward.
        time_limit_terminates: treat the end of a trajectory as terminal (the authors' code); by default the value of
            its last state is bootstrapped, as TorchRL does at a truncation.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.transforms import AllGoalSampler
        >>> env = BitFlipEnv(4, num_envs=3)
        >>> relabelled = HindsightRelabel(env.task())(AllGoalSampler()(env.rollout(4)))
        >>> relabelled.shape[1:], relabelled["next", "reward"].max() > 0
        (torch.Size([3, 4]), tensor(True))

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, Algorithm 3, lines 12-18.
    """

    def __init__(self, task: GoalTask, *, time_limit_terminates: bool = False) -> None:
        super().__init__(
            in_keys=[HINDSIGHT_GOAL, task.desired_goal, task.next_achieved_goal],
            out_keys=["original_goal", task.desired_goal, task.next_desired_goal, ("next", "reward"), MASK_KEY],
        )
        self.task, self.time_limit_terminates = task, time_limit_terminates

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Relabel a batch of trajectories that carries hindsight goals."""
        goals, desired = self._require(tensordict, HINDSIGHT_GOAL, self.task.desired_goal)
        if goals.shape[-1] != desired.shape[-1]:
            expected = f"of the goal size {desired.shape[-1]} of {self.task.desired_goal!r}"
            raise ValueError(refusal(self, repr(HINDSIGHT_GOAL), expected, goals.shape[-1]))
        valid = self._live_goals(tensordict) & validity(tensordict)
        out = tensordict.exclude("hindsight").expand(goals.shape[-2], *tensordict.batch_size).clone(False)
        out.set("original_goal", out.get(self.task.desired_goal))
        goals = goals.movedim(-2, 0)
        out.set(self.task.desired_goal, goals)
        out.set(self.task.next_desired_goal, goals)
        return self._cut(out, valid)

    def _live_goals(self, tensordict: TensorDictBase) -> Tensor:
        exists = tensordict.get(HINDSIGHT_GOAL_MASK, default=None)
        if exists is None:
            return torch.ones((), dtype=torch.bool, device=tensordict.get(HINDSIGHT_GOAL).device)
        return exists.movedim(-1, 0)

    def _cut(self, out: TensorDictBase, valid: Tensor) -> TensorDictBase:
        start, goals = out.get(self.task.achieved_goal)[..., 0, :], out.get(self.task.desired_goal)
        held = self.task.reached(start, goals[..., 0, :])
        terminated, live = cut_at_first_success(self.task.success(out), valid.expand(out.batch_size), held)
        truncated = out.get(("next", "truncated")).squeeze(-1) & ~terminated
        if self.time_limit_terminates:
            terminated, truncated = terminated | truncated, torch.zeros_like(truncated)
        out.set(("next", "reward"), torch.where(live.unsqueeze(-1), self.task.compute_reward(out), 0))
        for name, flag in (("terminated", terminated), ("truncated", truncated), ("done", terminated | truncated)):
            out.set(unravel_key(("next", name)), flag.unsqueeze(-1))
        return out.set(MASK_KEY, live)
