"""Ms. Pac-Man on the Arcade Learning Environment: screen, position, and contact with enemies."""

from __future__ import annotations

import numpy as np
import torch
from ale_py import Action, ALEInterface, LoggerMode, roms
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

# The map of 14 x 19 cells: "#" is a wall, "S" the corridor that episodes start from, "." any other free cell.
MAP = (
    "....#.........#....",
    ".##.#.#######.#.##.",
    "...................",
    "#.#.##.#####.##.#.#",
    "..#.............#..",
    "#.####.#####.####.#",
    "#......#####......#",
    "#.####.#####.####.#",
    "..#....SSSSS....#..",
    "#.#.#.#.###.#.#.#.#",
    "....#.#.....#.#....",
    ".##.#...###...#.##.",
    ".##.###.###.###.##.",
    "...................",
)
ACTIONS = (Action.UP, Action.RIGHT, Action.LEFT, Action.DOWN)
SCREENS, SIZE = 4, 84
_COLUMNS = np.array([10, 20, *range(28, 77, 8), *range(80, 145, 8)])  # right ends of the columns but the last [pixels]
_OPENING = 253  # frames before an episode starts; the opening tune lasts a few more
_FRAMES = 13  # frames for one action
_EVERY = 4  # frames from one screen to the next
_X, _Y, _SOUND = 10, 16, 39  # bytes of the console's memory
_CAUGHT = range(73, 83)  # the tune that plays from contact with an enemy until the life is lost


class PacmanGame:
    """The game: restart from a fixed state, and play one action at a time.

    An action lasts 13 frames. Every fourth screen is observed: the pixelwise maximum with the frame before (sprites
    flicker), cropped to the maze and averaged to 84 x 84 pixels of luminance.

    Example:
        >>> game = PacmanGame()
        >>> game.cell, game.play(2).shape, game.play(2).shape, game.cell, game.caught
        ((8, 9), torch.Size([4, 84, 84]), torch.Size([4, 84, 84]), (8, 8), False)

    Source: the frames, the screens and the cells are those of the authors of `Hindsight Policy Gradients
    <https://arxiv.org/abs/1711.06006>`_, whose cells are read off the screen.
    """

    def __init__(self) -> None:
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.emulator = ALEInterface()
        self.emulator.setFloat("repeat_action_probability", 0.0)
        self.emulator.loadROM(str(roms.get_rom_path("ms_pacman")))
        self.emulator.reset_game()
        for _ in range(_OPENING):
            self.emulator.act(Action.UP)
        self._start = self.emulator.cloneState()

    def restart(self) -> None:
        """Restore the start state."""
        self.emulator.restoreState(self._start)
        self.emulator.act(Action.NOOP)  # a restored state has no screen until the next frame

    def play(self, action: int) -> Tensor:
        """Play an action (up, right, left, down); return the screens, bytes ``[4, 84, 84]``, the last one last."""
        screens, before = [], self.emulator.getScreenGrayscale()
        for frame in range(_FRAMES):
            self.emulator.act(ACTIONS[action])
            if frame % _EVERY == 0:
                screens.append(np.maximum(before, self.emulator.getScreenGrayscale()))
            elif frame % _EVERY == _EVERY - 1:
                before = self.emulator.getScreenGrayscale()
        maze = torch.from_numpy(np.stack(screens)[:, 2:170, 2:-2]).float()
        return adaptive_avg_pool2d(maze, SIZE).round().byte()

    @property
    def cell(self) -> tuple[int, int]:
        """Row and column of Ms. Pac-Man, from two bytes of the console's memory."""
        memory = self.emulator.getRAM()
        row = min((int(memory[_Y]) + 6) // 12, len(MAP) - 1)
        return row, int(np.digitize(int(memory[_X]) - 8, _COLUMNS, right=True))

    @property
    def caught(self) -> bool:
        """Whether an enemy has caught her; the life counter changes about eighty frames later."""
        return int(self.emulator.getRAM()[_SOUND]) in _CAUGHT

    def picture(self) -> NDArray[np.uint8]:
        """The screen in colours ``[210, 160, 3]``."""
        return self.emulator.getScreenRGB()


def extent(row: int, column: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The pixels of a cell on the screen: ``(top, bottom), (left, right)``, ends excluded.

    Example:
        >>> extent(0, 1)
        ((0, 12), (10, 20))
    """
    edges = [0, *_COLUMNS.tolist(), 160]
    return (12 * row, 12 * row + 12), (edges[column], edges[column + 1])
