"""Mazes on a grid, with cells as goals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchrl.data import Categorical

from torchrl_htrpo._errors import number, refusal
from torchrl_htrpo.envs.goal import EqualGoals
from torchrl_htrpo.envs.toy.position_goal import PositionGoalEnv

# "#" is a wall, "." a free cell, "S" a free cell that episodes start from.
LAYOUTS = {
    "empty_room": ("S..........", *(("...........",) * 10)),
    "four_rooms": (
        "S....#....S",
        ".....#.....",
        "...........",
        ".....#.....",
        ".....#.....",
        "#.####.....",
        ".....###.##",
        ".....#.....",
        ".....#.....",
        "...........",
        "S....#....S",
    ),
}
SLIP = {"empty_room": 0.0, "four_rooms": 0.2}
_MOVES = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))  # up, down, left, right


class GridMazeEnv(PositionGoalEnv):
    """Walk to a cell of a grid: the mazes of Hindsight Policy Gradients, or your own drawing.

    ``"empty_room"`` is 11 x 11 cells without walls, with episodes from one corner; ``"four_rooms"`` is 11 x 11 cells in
    four rooms joined by doors, with episodes from any corner, and replaces one action in five by a random one. A step
    into a wall or off the grid does not move. Goals are uniform over the free cells in which no episode starts.

    Keys: those of :class:`PositionGoalEnv`, with positions ``(row, column)`` in cells, and ``action`` ``[N]``: up,
    down, left, right.

    Args:
        layout: the name of a maze, or its rows: ``#`` a wall, ``.`` a free cell, ``S`` a free cell to start from.
        num_envs: how many run at once (``N``).
        horizon: steps of an episode.
        slip: probability that an action is replaced by one drawn uniformly from the four. Default: the maze's own, 0
            for a drawing.
        seed: seed of starts, goals and slips.
        device: of the environment.

    Raises:
        ValueError: if the layout is no known name and no drawing, ``slip`` is outside [0, 1], or ``horizon`` or
            ``num_envs`` is not positive.

    Example:
        >>> env = GridMazeEnv("four_rooms", num_envs=4)
        >>> env.rollout(32)["next", "achieved_goal"].shape
        torch.Size([4, 32, 2])

    Source: `Hindsight Policy Gradients <https://arxiv.org/abs/1711.06006>`_, Section 6; the sizes, doors, starts and
    the share of random actions are those of the authors' code.
    """

    free: Tensor
    walled: Tensor
    moves: Tensor
    starts: Tensor
    goals: Tensor

    def __init__(
        self,
        layout: str | Sequence[str] = "empty_room",
        num_envs: int = 1,
        horizon: int = 32,
        *,
        slip: float | None = None,
        seed: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        rows = _rows(self, layout)
        self.slip = SLIP.get(str(layout), 0.0) if slip is None else slip
        number(self, "slip", self.slip, 0, 1)
        super().__init__(
            Categorical(4), 2, 2, EqualGoals(), horizon=horizon, num_envs=num_envs, seed=seed, device=device
        )
        cells = torch.tensor([[ord(cell) for cell in row] for row in rows], device=device)
        self.register_buffer("free", cells != ord("#"), persistent=False)
        self.register_buffer("walled", pad(self.free, (1, 1, 1, 1)), persistent=False)
        self.register_buffer("moves", torch.tensor(_MOVES, device=device), persistent=False)
        self.register_buffer("starts", (cells == ord("S")).nonzero().float(), persistent=False)
        self.register_buffer("goals", (cells == ord(".")).nonzero().float(), persistent=False)

    def sample_start_and_goal(self) -> tuple[Tensor, Tensor]:
        """See :meth:`PositionGoalEnv.sample_start_and_goal`."""
        return self._one_of(self.starts), self._one_of(self.goals)

    def move(self, position: Tensor, action: Tensor) -> Tensor:  # type: ignore[override]
        """See :meth:`PositionGoalEnv.move`."""
        if self.slip:
            noise = torch.rand(2, *self.batch_size, generator=self.generator, device=self.device)
            action = torch.where(noise[0] < self.slip, (4 * noise[1]).long(), action)
        there = position + self.moves[action.long()]
        # The drawing has a wall all around, so every step stays on it.
        row, column = (there.long() + 1).unbind(-1)
        return torch.where(self.walled[row, column].unsqueeze(-1), there, position)

    def _one_of(self, cells: Tensor) -> Tensor:
        index = torch.randint(len(cells), self.batch_size, generator=self.generator, device=self.device)
        return cells[index]


def _rows(owner: object, layout: str | Sequence[str]) -> Sequence[str]:
    if isinstance(layout, str):
        if layout not in LAYOUTS:
            raise ValueError(refusal(owner, "layout", "a known maze or the rows of a drawing", layout, LAYOUTS))
        return LAYOUTS[layout]
    if not isinstance(layout, Iterable):
        raise TypeError(refusal(owner, "layout", "a known maze or the rows of a drawing", layout, LAYOUTS))
    rows, drawn = list(layout), set("".join(layout))
    if len({len(row) for row in rows}) != 1 or not {"S", "."} <= drawn <= set("#.S"):
        expected = "equally long rows of '#', '.' and 'S', the last two somewhere"
        raise ValueError(refusal(owner, "layout", expected, rows))
    return rows
