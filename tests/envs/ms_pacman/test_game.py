"""The game: the same start, four directions, cells and contact read from memory as the screen and the lives tell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

pytest.importorskip("ale_py", reason="Ms. Pac-Man needs ale-py (the extra `atari`)")

from torchrl_htrpo.envs.ms_pacman.game import MAP, PacmanGame, extent

UP, RIGHT, LEFT, DOWN = range(4)


@pytest.fixture(scope="module")
def loaded():
    return PacmanGame()


@pytest.fixture
def game(loaded):
    loaded.restart()
    return loaded


def walk(game, moves):
    return [(game.play(move), game.cell, game.caught)[1:] for move in moves]


def test_a_restart_repeats_the_game_to_the_pixel(game):
    moves = torch.randint(4, (12,), generator=torch.Generator().manual_seed(0)).tolist()
    one = [game.play(move) for move in moves]
    game.restart()
    assert all(torch.equal(game.play(move), screens) for move, screens in zip(moves, one, strict=True))


def test_actions_are_up_right_left_down(game):
    row, column = game.cell
    after = {}
    for name, moves in {"right": [RIGHT] * 4, "left": [LEFT] * 4, "down": [LEFT] * 3 + [DOWN] * 4}.items():
        game.restart()
        after[name] = walk(game, moves)[-1][0]
    assert after["right"][1] > column > after["left"][1] and after["down"][0] > row
    # From down there the way up is back.
    assert walk(game, [UP] * 4)[-1][0][0] < after["down"][0]


def test_screens_move_and_differ_within_an_action(game):
    screens = game.play(LEFT)
    assert screens.dtype == torch.uint8 and screens.shape == (4, 84, 84)
    assert all(not torch.equal(*pair) for pair in pairwise(screens))
    assert screens.float().std() > 20


def test_screens_are_the_brighter_of_two_frames_averaged_down(game):
    seen = []
    frames = [game.emulator.getScreenGrayscale()]
    for _ in range(13):
        game.emulator.act(4)  # left
        frames.append(game.emulator.getScreenGrayscale())
    for last in (1, 5, 9, 13):
        bright = np.maximum(frames[last - 1], frames[last])[2:170, 2:-2].astype(np.float64)
        # Each pixel is the mean over the pixels it covers or touches.
        columns = [bright[:, 156 * c // 84 : -(-156 * (c + 1) // 84)].mean(1) for c in range(84)]
        seen.append(np.stack(columns, 1).reshape(84, 2, 84).mean(1))
    game.restart()
    assert np.abs(game.play(LEFT).numpy() - np.stack(seen)).max() <= 0.5 + 1e-3


def test_the_map_is_that_of_the_game(game):
    """She is never in a wall, and often where the most yellow of her is on the screen."""
    assert [len(MAP), {len(row) for row in MAP}] == [14, {19}] and sum(row.count(".") for row in MAP) == 155
    assert all(row == row[::-1] for row in MAP)
    dice, agree, asked = np.random.default_rng(0), 0, 0
    for _ in range(8):
        game.restart()
        for _ in range(26):
            game.play(int(dice.integers(4)))
            row, column = game.cell
            assert MAP[row][column] != "#"
            screen = game.emulator.getScreenGrayscale()
            hers = (screen > 160) & (screen < 170)
            counts = {
                (r, c): hers[slice(*extent(r, c)[0]), slice(*extent(r, c)[1])].sum()
                for r in range(14)
                for c in range(19)
            }
            most = max(counts, key=counts.get)
            assert abs(most[0] - row) + abs(most[1] - column) <= 2 or counts[most] < 20
            agree, asked = agree + (most == (row, column)), asked + 1
            if game.caught:
                break
    assert agree / asked > 0.8


def test_contact_is_reported_exactly_before_a_life_is_lost(game):
    dice, caught = np.random.default_rng(1), 0
    for _ in range(12):
        game.restart()
        emulator, lives = game.emulator, game.emulator.lives()
        for _ in range(40):
            game.play(int(dice.integers(4)))
            assert emulator.lives() == lives
            if game.caught:
                caught += 1
                place = game.cell
                frames = next(
                    frame for frame in range(1, 101) if emulator.act(2) is not None and emulator.lives() < lives
                )
                assert frames > 50 and place != game.cell
                break
    assert caught >= 5
