"""Encode pictures with a convolutional trunk, and concatenate a goal to the features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchrl_htrpo._errors import count, counts, refusal
from torchrl_htrpo.distributed import Group
from torchrl_htrpo.modules.normalizer import RunningNormalizer


class PixelGoalEncoder(nn.Module):
    """Encode a picture and a goal as one vector ``[*B, F + d_g]``: an ``encoder`` for :func:`make_actor`.

    In place of pictures it also takes their indices in :attr:`states` (see
    :class:`~torchrl_htrpo.hindsight.ShareStates`): it then processes each picture once, not once for each row, in the
    forward and in the backward pass. Policy and critic each need an encoder, and may share ``goal_normalizer``.

    Args:
        trunk: pictures ``[*B, C, H, W]``, bytes as numbers from 0 to 1, to features ``[*B, F]``, such as
            ``torchrl.modules.ConvNet``.
        shape: of a picture ``(C, H, W)``.
        goal_size: features of the goal (``d_g``).
        goal_normalizer: normalises the goal. Default: the goal is not normalised.

    Example:
        >>> from torchrl.modules import ConvNet
        >>> encoder = PixelGoalEncoder(ConvNet(4, num_cells=[8], kernel_sizes=8, strides=4), (4, 84, 84), 2)
        >>> encoder.num_features, encoder(torch.zeros(5, 4, 84, 84, dtype=torch.uint8), torch.zeros(5, 2)).shape
        (3202, torch.Size([5, 3202]))

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, F.1.
    """

    def __init__(
        self,
        trunk: nn.Module,
        shape: Sequence[int],
        goal_size: int,
        *,
        goal_normalizer: RunningNormalizer | None = None,
    ) -> None:
        count(self, "goal_size", goal_size)
        counts(self, "shape", shape)
        super().__init__()
        self.trunk, self.goal = trunk, goal_normalizer or nn.Identity()
        with torch.no_grad():
            self.num_features = trunk(torch.zeros(1, *shape)).shape[-1] + goal_size
        #: Pictures ``[U, C, H, W]`` that indices refer to; a property of the batch, not of the network.
        self.states: Tensor | None = None

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Encode pictures ``[*B, C, H, W]``, or their indices ``[*B]`` (int64), and concatenate goals."""
        return torch.cat((self._features(observation, goal.dtype), self.goal(goal)), -1)

    def update(
        self, observation: Tensor, *goals: Tensor, mask: Tensor | None = None, process_group: Group = None
    ) -> None:
        """Update the statistics of goals ``[*B, d_g]``; pictures have none."""
        if isinstance(self.goal, RunningNormalizer):
            for goal in goals:
                self.goal.update(goal, mask, process_group)

    def remember(self, pictures: Tensor) -> None:
        """Store the pictures ``[U, C, H, W]`` that indices refer to."""
        dtype = next((parameter.dtype for parameter in self.trunk.parameters()), torch.get_default_dtype())
        self.states = _floats(pictures, dtype)

    def _features(self, observation: Tensor, dtype: torch.dtype) -> Tensor:
        if observation.dtype != torch.int64:
            return self.trunk(_floats(observation, dtype))
        if self.states is None:
            raise RuntimeError(refusal(self, "states", "given (by ShareStates) if observations are indices", None))
        if observation.numel() < len(self.states):
            return self.trunk(self.states[observation])
        features = self.trunk(self.states).index_select(0, observation.reshape(-1))
        return features.reshape(*observation.shape, -1)


def _floats(pictures: Tensor, dtype: torch.dtype) -> Tensor:
    return pictures.to(dtype) / 255 if pictures.dtype == torch.uint8 else pictures.to(dtype)
