"""Metrics of relabelled batches, with warnings about batches that allow no update."""

from __future__ import annotations

from enum import Enum
from functools import partial

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl import torchrl_logger

from torchrl_htrpo._errors import require, require_shape
from torchrl_htrpo.batch.mask import validity
from torchrl_htrpo.batch.rows import by_goal
from torchrl_htrpo.distributed import Group, all_max, all_sum
from torchrl_htrpo.envs.goal import GoalTask

_COLLAPSED = 1.5
_OF_A_PROCESS = ("weight", "squares", "live", "rows", "solved", "pairs")


class HindsightMetrics:
    r"""Compute metrics of a relabelled and weighted batch, and warn once for each reason why it allowed no update.

    ``trajectories`` is the effective number of trajectories behind each goal and step, averaged over those with any
    weight: :math:`(\sum_i w_i)^2 / \sum_i w_i^2`, 1 where the weights rest on one trajectory.

    Args:
        task: its success criterion decides which steps reach their goal.
        process_group: processes with other trajectories. Effective numbers and goals are those of all of them.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl_htrpo.envs import EqualGoals
        >>> batch = TensorDict(importance_weight=torch.ones(2, 3, 4), batch_size=[2, 3, 4])
        >>> batch["desired_goal"] = batch["next", "achieved_goal"] = torch.zeros(2, 3, 4, 1)
        >>> batch["hindsight", "weight"] = torch.ones(2, 3, 4)
        >>> figures = HindsightMetrics(GoalTask(EqualGoals()))(batch)
        >>> figures["hindsight/trajectories"], figures["hindsight/solved_share"]
        (3.0, 1.0)
    """

    def __init__(self, task: GoalTask, process_group: Group = None) -> None:
        self.task, self.process_group = task, process_group
        self.warned: set[str] = set()

    def __call__(self, batch: TensorDictBase, status: Enum | None = None) -> dict[str, float]:
        """Compute the metrics of a batch.

        Args:
            batch: ``[G, *B, T]``, relabelled and weighted.
            status: of the step on this batch; a status other than ``ACCEPTED`` is logged as a warning.

        Returns:
            Figures by name, below ``hindsight/``.

        Raises:
            KeyError: if an entry is missing.
            ValueError: if an entry has another shape than the transforms give it.
        """
        return self.report(self.sums(batch), status)

    def sums(self, batch: TensorDictBase) -> TensorDict:
        """Sums over a batch ``[G, *B, T]`` or over some of its goals; those of parts add up.

        ``live`` is the number of live rows of this process.
        """
        weights = ("importance_weight", ("hindsight", "weight"))
        goals = (self.task.desired_goal, self.task.next_achieved_goal)
        desired, *_ = require(self, batch, *goals, *weights)
        require_shape(self, batch, desired.shape[-1:], *goals)
        require_shape(self, batch, [], *weights)
        mask, weight = validity(batch), batch.get(("hindsight", "weight"))
        live, solved = by_goal(mask), (self.task.success(batch) & mask).any(-1)
        trajectories, steps = _effective(by_goal(batch.get("importance_weight")), live, self.process_group)
        count = partial(torch.full, (), device=mask.device)
        return TensorDict(
            weight=weight.sum(),
            squares=weight.square().sum(),
            live=mask.to(weight.dtype).sum(),
            rows=count(mask.numel()),
            solved=solved.float().sum(),
            pairs=count(solved.numel()),
            slots=count(len(live)),
            goals=all_max(live.flatten(1).any(-1), self.process_group).sum(),
            trajectories=trajectories,
            steps=steps,
        )

    def report(self, sums: TensorDictBase, status: Enum | None = None) -> dict[str, float]:
        """Compute the metrics from :meth:`sums` of a batch; see :meth:`__call__`."""
        own = torch.stack([sums[name].double() for name in _OF_A_PROCESS])
        sums = sums.copy().update(dict(zip(_OF_A_PROCESS, all_sum(own, self.process_group), strict=True)))
        figures = {
            "ess": torch.where(sums["squares"] > 0, sums["weight"].square() / sums["squares"], 0),
            "live_share": sums["live"] / sums["rows"],
            "solved_share": sums["solved"] / sums["pairs"],
            "goals": sums["goals"],
            "trajectories": sums["trajectories"] / sums["steps"].clamp_min(1),
        }
        found = {name: float(figure) for name, figure in figures.items()}
        if found["goals"] == 0:
            self._warn(
                "goals", "no hindsight goal is left: all held at the start of their trajectories, or none was achieved"
            )
        elif found["trajectories"] < _COLLAPSED and sums["pairs"] > sums["slots"]:
            self._warn("trajectories", "the weights rest on one trajectory for each goal and step (ESS near 1)")
        if status is not None and status.name != "ACCEPTED":
            self._warn(status.name, f"{status.name}: {status.value}")
        return {f"hindsight/{name}": figure for name, figure in found.items()}

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            torchrl_logger.warning(f"HindsightMetrics: {text} (logged once; metrics hindsight/* show every batch)")


def _effective(weight: Tensor, live: Tensor, process_group: Group) -> tuple[Tensor, Tensor]:
    """Effective numbers of trajectories, summed, and the number of pairs of goal and step that have weight."""
    weight = torch.where(live, weight, 0).double()
    most = all_max(weight.amax(1, keepdim=True), process_group)
    weight = weight / most.clamp_min(torch.finfo(weight.dtype).tiny)
    squares = all_sum(weight.square().sum(1), process_group)
    total = all_sum(weight.sum(1), process_group)
    count = total.square() / squares.clamp_min(1)  # the largest is 1 where any weight is above 0
    return count.sum(), (squares > 0).sum()
