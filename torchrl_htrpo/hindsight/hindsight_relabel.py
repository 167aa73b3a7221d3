"""Relabel trajectories with hindsight goals."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase, unravel_key
from torch import Tensor

from torchrl_htrpo._errors import flag, refusal
from torchrl_htrpo.batch.mask import MASK_KEY, last_steps
from torchrl_htrpo.batch.transform import HINDSIGHT_GOAL, HINDSIGHT_GOAL_MASK, BatchTransform
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.envs.goal import GoalTask
from torchrl_htrpo.hindsight.functional import cut_at_first_success
from torchrl_htrpo.hindsight.goal_sampler import require_goals

_ENDS = (("next", "terminated"), ("next", "truncated"))


class HindsightRelabel(BatchTransform):
    """Relabel trajectories ``[*B, T]`` with ``G`` hindsight goals: ``[G, *B, T]``.

    Replaces the goal at the root and under ``"next"``, computes the reward again from the whole tensordict, and cuts
    each pair of goal and trajectory at its first success: ``terminated`` there, masked after. Masks pairs whose goal
    held before the first action. A task with ``aim="stay"`` cuts and masks no pair. A collected termination that was no
    success (such as a fall) stays a termination; any other pair that is live at the end of its trajectory is
    ``truncated`` there, also if collection stopped or the original goal was reached. So every live pair is ``done``
    exactly once, at its last live step. Unchanged entries are views of the collected ones; the input is not modified.

    A row is one trajectory (or the beginning of one). Rows with several are refused; where values are not
    checked (:func:`~torchrl_htrpo.checks.set_checks`), all but the first of them are masked.

    Writes ``original_goal``, the goals, ``("next", "reward" | "terminated" | "truncated" | "done")`` and the mask of
    live steps ``("collector", "mask")``, which TorchRL's losses honour.

    Args:
        task: where the goals are, when one is reached, and the reward.
        time_limit_terminates: treat a time limit (``truncated`` as collected) as terminal (the authors' code); by
            default the value of the last state is bootstrapped, as TorchRL does at a truncation.

    Raises:
        KeyError: if an entry is missing.
        ValueError: if the goals have another size than the task's, the goals or the hindsight goals change along a
            trajectory, a row holds several trajectories, or a relabelled reward is not finite (the last three are
            checks of values).

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.hindsight import AllGoalSampler
        >>> env = BitFlipEnv(4, num_envs=3)
        >>> relabelled = HindsightRelabel(env.task())(AllGoalSampler()(env.rollout(4)))
        >>> relabelled.shape[1:], relabelled["next", "reward"].max() > 0
        (torch.Size([3, 4]), tensor(True))

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, Algorithm 3, lines 12-18.
    """

    def __init__(self, task: GoalTask, *, time_limit_terminates: bool = False) -> None:
        super().__init__(
            in_keys=[HINDSIGHT_GOAL, task.desired_goal, task.achieved_goal, task.next_achieved_goal, *_ENDS],
            out_keys=["original_goal", task.desired_goal, task.next_desired_goal, ("next", "reward"), MASK_KEY],
        )
        self.task, self.time_limit_terminates = task, flag(self, "time_limit_terminates", time_limit_terminates)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Relabel a batch of trajectories that carries hindsight goals."""
        goals, *_ = self._require(tensordict, *self.in_keys)
        require_goals(self, tensordict, self.task)
        if may_wait(goals.device) and goals.stride(-3) and (goals != goals[..., :1, :, :]).any():
            expected = "the same at every step of a trajectory (HindsightReplay takes goals of single steps)"
            raise ValueError(refusal(self, repr(HINDSIGHT_GOAL), expected, "goals that change"))
        first = self._first_trajectory(tensordict)
        self._refuse_moving_goals(tensordict, first)
        valid = self._live_goals(tensordict) & first
        failed = self.task.failure(tensordict)
        out = tensordict.exclude("hindsight").expand(goals.shape[-2], *tensordict.batch_size).clone(False)
        out.set("original_goal", out.get(self.task.desired_goal))
        goals = goals.movedim(-2, 0)
        out.set(self.task.desired_goal, goals)
        out.set(self.task.next_desired_goal, goals)
        return self._cut(out, valid, failed)

    def _refuse_moving_goals(self, tensordict: TensorDictBase, first: Tensor) -> None:
        desired = tensordict.get(self.task.desired_goal)
        if may_wait(desired.device) and ((desired != desired[..., :1, :]).any(-1) & first).any():
            expected = "the same at every step of a trajectory"
            raise ValueError(refusal(self, repr(self.task.desired_goal), expected, "a goal that changes"))

    def _live_goals(self, tensordict: TensorDictBase) -> Tensor:
        exists = tensordict.get(HINDSIGHT_GOAL_MASK, default=None)
        if exists is None:
            return torch.ones((), dtype=torch.bool, device=tensordict.get(HINDSIGHT_GOAL).device)
        return exists.movedim(-1, 0)

    def _cut(self, out: TensorDictBase, valid: Tensor, failed: Tensor) -> TensorDictBase:
        terminated, live = self._ends(out, valid.expand(out.batch_size))
        if self.time_limit_terminates:
            failed = failed | out.get(_ENDS[1]).squeeze(-1)
        terminated = terminated | (live & failed)
        truncated = last_steps(live) & ~terminated
        reward = self.task.compute_reward(out)
        self._refuse_non_finite(("next", "reward"), reward, live)
        out.set(("next", "reward"), torch.where(live.unsqueeze(-1), reward, 0))
        for name, ends in (("terminated", terminated), ("truncated", truncated), ("done", terminated | truncated)):
            out.set(unravel_key(("next", name)), ends.unsqueeze(-1))
        return out.set(MASK_KEY, live)

    def _ends(self, out: TensorDictBase, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Find where pairs end because their goal is reached, and the live steps."""
        if self.task.aim == "stay":
            return torch.zeros_like(valid), valid
        start, goals = out.get(self.task.achieved_goal)[..., 0, :], out.get(self.task.desired_goal)
        return cut_at_first_success(self.task.success(out), valid, self.task.reached(start, goals[..., 0, :]))
