"""Recurrent encoder of observation histories, for partially observed tasks."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchrl.modules import GRU, LSTM

from torchrl_htrpo._errors import choice, count
from torchrl_htrpo.modules.normalizer import GoalNormalizer

Cell = Literal["gru", "lstm"]
_CELLS = {"gru": GRU, "lstm": LSTM}


class GoalMemory(nn.Module):
    r"""Encode the observation history of an episode and a goal with an LSTM or GRU.

    .. math:: h_t = \mathrm{cell}\big((o_0, g), \dots, (o_t, g)\big), \qquad (h_t, o_t, g) \text{ goes to the layers}

    An ``encoder`` of :func:`make_actor` and :func:`make_critic`. Every row holds the history of its decision
    (:func:`~torchrl_htrpo.envs.with_history` writes it), so rows stay independent: hidden states are computed for the
    row's own goal, and chunks, subsets of rows and the curvature need no sequences. In return the cell runs over the
    whole history for every row.

    The cells are TorchRL's ``GRU`` and ``LSTM`` in Python: torch's fused LSTM has no forward derivatives on the CPU,
    which conjugate gradients need.

    Args:
        observation_size: features of an observation.
        goal_size: features of a goal.
        hidden_size: features of the memory.
        cell: ``"gru"`` or ``"lstm"``.
        normalizer: standardises observations and goals first.

    Raises:
        ValueError: if the cell is unknown.

    Example:
        >>> from torchrl_htrpo.modules import GaussianHead, make_actor
        >>> memory = GoalMemory(observation_size=3, goal_size=2, hidden_size=16)
        >>> keys = ("history", "desired_goal")
        >>> actor = make_actor(GaussianHead(2), memory.size, (8,), encoder=memory, in_keys=keys)
        >>> loc, scale, action, log_prob = actor(torch.zeros(5, 10, 3), torch.zeros(5, 2))
        >>> action.shape, log_prob.shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        observation_size: int,
        goal_size: int,
        hidden_size: int = 64,
        cell: Cell = "gru",
        *,
        normalizer: GoalNormalizer | None = None,
    ) -> None:
        choice(self, "cell", cell, get_args(Cell))
        for name, size in (
            ("observation_size", observation_size),
            ("goal_size", goal_size),
            ("hidden_size", hidden_size),
        ):
            count(self, name, size)
        super().__init__()
        self.normalizer = normalizer
        self.cell = _CELLS[cell](observation_size + goal_size, hidden_size, batch_first=True)
        #: Number of features.
        self.size = hidden_size + observation_size + goal_size

    def forward(self, history: Tensor, goal: Tensor) -> Tensor:
        """Encode histories ``[*B, W, d_o]`` (current observation last) and goals ``[*B, d_g]``: ``[*B, size]``."""
        goals = goal.unsqueeze(-2).expand(*history.shape[:-1], goal.shape[-1])
        inputs = torch.cat((history, goals), -1) if self.normalizer is None else self.normalizer(history, goals)
        hidden = self.cell(inputs.reshape(-1, *inputs.shape[-2:]))[0][:, -1]
        return torch.cat((hidden.reshape(*goal.shape[:-1], -1), inputs[..., -1, :]), -1)
