"""Choose hindsight goals among the achieved goals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from torch import Tensor

from torchrl_htrpo._errors import count, refusal, require_shape
from torchrl_htrpo.batch.mask import validity
from torchrl_htrpo.batch.transform import HINDSIGHT_GOAL, HINDSIGHT_GOAL_MASK, BatchTransform
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.distributed import Group, all_cat, from_first
from torchrl_htrpo.envs.goal import GoalTask, ReachedFn
from torchrl_htrpo.hindsight.functional import distinct


def require_goals(owner: object, tensordict: TensorDictBase, task: GoalTask) -> None:
    """Raise a ValueError if goals of a batch ``[*B, T]`` lack the shapes that a goal sampler and the task give them."""
    sampled, size = tensordict.get(HINDSIGHT_GOAL), tensordict.get(task.desired_goal).shape[-1:]
    if sampled.shape[-1:] != size:
        expected = f"of the goal size {size[0]} of {task.desired_goal!r}"
        raise ValueError(refusal(owner, repr(HINDSIGHT_GOAL), expected, sampled.shape[-1]))
    require_shape(owner, tensordict, size, task.desired_goal, task.achieved_goal, task.next_achieved_goal)
    require_shape(owner, tensordict, sampled.shape[-2:], HINDSIGHT_GOAL)
    require_shape(owner, tensordict, sampled.shape[-2:-1], HINDSIGHT_GOAL_MASK)
    mask = tensordict.get(HINDSIGHT_GOAL_MASK, default=None)
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(refusal(owner, repr(HINDSIGHT_GOAL_MASK), "of booleans", mask.dtype))


class GoalSampler(BatchTransform):
    """Base class: reads achieved goals ``[*B, T, d_g]`` and writes hindsight goals.

    Writes ``("hindsight", "goal")`` ``[*B, T, G, d_g]`` and ``("hindsight", "goal_mask")`` ``[*B, T, G]``, which marks
    those of the ``G`` goals that exist. Subclasses implement :meth:`goals_of`; most derive from
    :class:`SharedGoalSampler` (one set of goals for all trajectories) or :class:`PerTrajectoryGoalSampler` (goals of
    the same trajectory).

    Args:
        skip_held: a rule such as ``task.reached``. Skip achieved goals that already hold, by this rule, at the start of
            the trajectory that achieved them: they need no action. Default: skip none.
        achieved_goal: key of the achieved goal, read under ``"next"`` (and at the root for ``skip_held``).
        desired_goal: key of the original goal.
        process_group: processes with other trajectories of the same batch. Shared goals are chosen among those that
            the trajectories of all processes achieve.

    Raises:
        KeyError: if a goal is missing.
        ValueError: if the goals differ in shape, or one of a valid step is not finite (a check of values).
    """

    def __init__(
        self,
        *,
        skip_held: ReachedFn | None = None,
        achieved_goal: NestedKey = "achieved_goal",
        desired_goal: NestedKey = "desired_goal",
        process_group: Group = None,
    ) -> None:
        self.process_group = process_group
        self.achieved_goal, self.desired_goal = achieved_goal, desired_goal
        self.next_achieved_goal: NestedKey = unravel_key(("next", achieved_goal))
        self.skip_held = skip_held
        super().__init__(
            in_keys=[desired_goal, self.next_achieved_goal], out_keys=[HINDSIGHT_GOAL, HINDSIGHT_GOAL_MASK]
        )

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the hindsight goals of a batch of trajectories ``[*B, T]``."""
        desired, achieved = self._require(tensordict, self.desired_goal, self.next_achieved_goal)
        keys = self.desired_goal, self.next_achieved_goal, *([self.achieved_goal] if self.skip_held else [])
        require_shape(self, tensordict, desired.shape[-1:], *keys)
        valid = self._valid(tensordict)
        self._refuse_non_finite(self.next_achieved_goal, achieved, valid)
        self._refuse_non_finite(self.desired_goal, desired, valid)
        eligible = valid & ~self._held(tensordict, achieved)
        originals = self._originals(desired[..., 0, :].reshape(-1, desired.shape[-1]), valid[..., 0].reshape(-1))
        goals, exists = self.goals_of(achieved, eligible, originals)
        out = tensordict.copy()
        out.set(HINDSIGHT_GOAL, goals)
        return out.set(HINDSIGHT_GOAL_MASK, exists)

    def _valid(self, tensordict: TensorDictBase) -> Tensor:
        """Valid steps ``[*B, T]``."""
        return validity(tensordict)

    def goals_of(self, achieved: Tensor, eligible: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the hindsight goals of each step.

        Args:
            achieved: candidates ``[*B, T, d_g]``.
            eligible: which of them may be chosen ``[*B, T]``.
            goals: original goal of each trajectory ``[K, d_g]``.

        Returns:
            Goals ``[*B, T, G, d_g]`` and which of them exist ``[*B, T, G]``.
        """
        raise NotImplementedError

    def _originals(self, goals: Tensor, exists: Tensor) -> Tensor:
        """The original goals ``[K, d_g]`` to choose by, where some rows of the batch are padding."""
        return _of_trajectories(goals, exists)

    def _held(self, tensordict: TensorDictBase, achieved: Tensor) -> Tensor:
        if self.skip_held is None:
            return torch.zeros(tensordict.batch_size, dtype=torch.bool, device=achieved.device)
        (before,) = self._require(tensordict, self.achieved_goal)
        return self.skip_held(before[..., :1, :], achieved)


def _of_trajectories(goals: Tensor, exists: Tensor) -> Tensor:
    """Replace the goals of padded rows by a real one."""
    index = torch.arange(len(goals), device=goals.device)
    return goals[torch.where(exists, index, exists.int().argmax())]


class SharedGoalSampler(GoalSampler):
    """Base class: one set of goals, chosen among the achieved goals of the whole batch and shared by all trajectories.

    The written goals are expanded views: they take the memory of one set. Subclasses implement :meth:`choose`. Over
    several processes, each gets what all :meth:`propose`, and the choice of the first process holds for all.

    Args:
        **kwargs: see :class:`GoalSampler`.
    """

    def propose(self, candidates: Tensor, valid: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Which candidates of this process ``[M, d_g]`` (``valid`` ``[M]``) the others get. Default: all.

        Returns:
            Candidates ``[m, d_g]`` and which of them are valid ``[m]``.
        """
        return candidates, valid

    def choose(self, candidates: Tensor, valid: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Choose among candidates ``[M, d_g]`` (``valid`` ``[M]``) given original goals ``[K, d_g]``.

        Returns:
            Goals ``[G, d_g]`` and which of them exist ``[G]``.
        """
        raise NotImplementedError

    def goals_of(self, achieved: Tensor, eligible: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`GoalSampler.goals_of`."""
        proposed = self.propose(achieved.reshape(-1, achieved.shape[-1]), eligible.reshape(-1), goals)
        candidates, valid = (all_cat(part, self.process_group) for part in proposed)
        chosen, exists = (from_first(part, self.process_group) for part in self.choose(candidates, valid, goals))
        return chosen.expand(*eligible.shape, *chosen.shape), exists.expand(*eligible.shape, *exists.shape)

    def _originals(self, goals: Tensor, exists: Tensor) -> Tensor:
        return super()._originals(all_cat(goals, self.process_group), all_cat(exists, self.process_group))


class UniformGoalSampler(SharedGoalSampler):
    """Sample hindsight goals uniformly, without replacement, from the distinct achieved goals (ablation "w/o HGF").

    Args:
        num_goals: how many to draw (``G``).
        generator: source of randomness; default: torch's own.
        **kwargs: see :class:`GoalSampler`.

    Raises:
        ValueError: if ``num_goals`` is not positive.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> batch = BitFlipEnv(4, num_envs=3).rollout(4)
        >>> UniformGoalSampler(num_goals=2)(batch)["hindsight", "goal"].shape
        torch.Size([3, 4, 2, 4])
    """

    def __init__(self, num_goals: int, *, generator: torch.Generator | None = None, **kwargs: object) -> None:
        count(self, "num_goals", num_goals)
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.num_goals, self.generator = num_goals, generator

    def choose(self, candidates: Tensor, valid: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`SharedGoalSampler.choose`."""
        order = torch.rand(len(candidates), device=candidates.device, generator=self.generator)
        order = order.masked_fill(~distinct(candidates, valid), -1.0)
        score, index = order.topk(min(self.num_goals, len(candidates)))
        return candidates[index], score >= 0


class AllGoalSampler(SharedGoalSampler):
    """Use every distinct achieved goal as a hindsight goal (Bit Flipping).

    Without device synchronisation (:func:`~torchrl_htrpo.checks.set_checks`), every candidate keeps a slot, and the
    mask marks the goals that exist.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> batch = AllGoalSampler()(BitFlipEnv(4, num_envs=1).rollout(4))
        >>> batch["hindsight", "goal_mask"][0, 0].any()
        tensor(True)
    """

    def choose(self, candidates: Tensor, valid: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`SharedGoalSampler.choose`."""
        first = distinct(candidates, valid)
        if not may_wait(candidates.device):
            return candidates, first
        # Without any goal, return one that does not exist: the batch is then masked, not empty.
        index = first.nonzero().squeeze(-1) if first.any() else torch.zeros(1, dtype=torch.long, device=first.device)
        return candidates[index], first[index]


class OriginalGoalSampler(GoalSampler):
    r"""Keep each trajectory's original goal, alone (TRPO) or with hindsight goals (HTRPO with original data).

    With its original goal a trajectory has the ratio :math:`\rho = 1`. The original goals come last and differ between
    trajectories: ``("hindsight", "goal")`` ``[*B, T, G + 1, d_g]``.

    Args:
        beside: creates the sampler of ``G`` further goals from the keyword arguments below; default: none.
        **kwargs: see :class:`GoalSampler`. ``skip_held`` is for the other goals: a pair whose goal held at its start is
            masked by :class:`HindsightRelabel` in any case.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> batch = OriginalGoalSampler()(BitFlipEnv(4, num_envs=3).rollout(4))
        >>> torch.equal(batch["hindsight", "goal"].squeeze(-2), batch["desired_goal"])
        True

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, eqs. 77-80 with :math:`g' = g`.
    """

    def __init__(self, beside: Callable[..., GoalSampler] | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.beside = None if beside is None else beside(**kwargs)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the goals of a batch of trajectories ``[*B, T]``."""
        original = super().forward(tensordict)
        if self.beside is None:
            return original
        out = self.beside(tensordict)
        parts = [each.get(HINDSIGHT_GOAL) for each in (out, original)]
        # Goals are the same at every step: join those of one step, and expand.
        goals = torch.cat([part[..., :1, :, :] for part in parts], -2)
        out.set(HINDSIGHT_GOAL, goals.expand(*tensordict.batch_size, *goals.shape[-2:]))
        masks = out.get(HINDSIGHT_GOAL_MASK), original.get(HINDSIGHT_GOAL_MASK)
        return out.set(HINDSIGHT_GOAL_MASK, torch.cat(masks, -1))

    def goals_of(self, achieved: Tensor, eligible: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`GoalSampler.goals_of`."""
        original = goals.reshape(*achieved.shape[:-2], 1, 1, -1).expand(*achieved.shape[:-1], 1, -1)
        return original, torch.ones_like(eligible).unsqueeze(-1)
