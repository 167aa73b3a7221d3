"""Center advantages over trajectories."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModuleBase

from torchrl_htrpo._errors import require, require_shape
from torchrl_htrpo.batch.rows import by_goal
from torchrl_htrpo.distributed import Group, all_sum


class CenterAdvantage(TensorDictModuleBase):
    r"""Subtract from each advantage its weighted mean over trajectories, for each goal and step.

    .. math:: A_{j,i,t} \leftarrow A_{j,i,t} - \frac{\sum_{i'} w_{j,i',t} A_{j,i',t}}{\sum_{i'} w_{j,i',t}}

    The mean is a baseline: it depends on the goal and the step, not on the action. It reduces the variance of the
    gradient where many trajectories have weight, as with ``CumulativeGoalRatio(window=1)``. Where one trajectory has
    nearly all the weight, it removes what that trajectory has to teach; do not use it there.

    Args:
        weight: key of the weight :math:`w`.
        process_group: processes with other trajectories of the same batch.

    Raises:
        KeyError: if an entry is missing.
        ValueError: if one has another shape.

    Example:
        >>> from tensordict import TensorDict
        >>> batch = TensorDict(advantage=torch.tensor([[[[1.0]], [[4.0]]]]), batch_size=[1, 2, 1])
        >>> batch["hindsight", "weight"] = torch.tensor([[[2.0], [1.0]]])
        >>> CenterAdvantage()(batch)["advantage"].flatten()
        tensor([-1.,  2.])
    """

    def __init__(self, *, weight: NestedKey = ("hindsight", "weight"), process_group: Group = None) -> None:
        super().__init__()
        self.weight, self.process_group = weight, process_group
        self.in_keys, self.out_keys = ["advantage", weight], ["advantage"]

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Center the advantages of a relabelled batch ``[G, *B, T]``."""
        advantage, weight = require(self, tensordict, "advantage", self.weight)
        require_shape(self, tensordict, [1], "advantage")
        require_shape(self, tensordict, [], self.weight)
        value, weight = by_goal(advantage.squeeze(-1)), by_goal(weight)
        total = all_sum(weight.sum(1, keepdim=True), self.process_group)
        mean = all_sum((weight * value).sum(1, keepdim=True), self.process_group)
        centered = value - mean / total.clamp_min(torch.finfo(total.dtype).tiny)
        return tensordict.copy().set("advantage", centered.reshape(advantage.shape))
