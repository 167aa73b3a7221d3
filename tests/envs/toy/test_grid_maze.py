"""Mazes: walls stop, doors let through, starts and goals are where they should be, slips come as often as said."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torchrl.envs import check_env_specs

from torchrl_htrpo.envs import GridMazeEnv
from torchrl_htrpo.envs.toy.grid_maze import LAYOUTS

UP, DOWN, LEFT, RIGHT = range(4)
MOVES = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def distances(rows, start):
    """Shortest ways from a cell, by breadth-first search on the drawing."""
    found, queue = {start: 0}, deque([start])
    while queue:
        row, column = here = queue.popleft()
        for down, right in MOVES:
            r, c = there = row + down, column + right
            if 0 <= r < len(rows) and 0 <= c < len(rows[0]) and rows[r][c] != "#" and there not in found:
                found[there] = found[here] + 1
                queue.append(there)
    return found


def step(layout, position, action, **kwargs):
    env = GridMazeEnv(layout, slip=0.0, **kwargs)
    return tuple(env.move(torch.tensor([position], dtype=torch.float), torch.tensor([action]))[0].int().tolist())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_passes_check_env_specs(layout, device):
    check_env_specs(GridMazeEnv(layout, 3, 6, seed=0, device=device), break_when_any_done="both")


def test_an_action_moves_one_cell_and_the_edge_stops():
    assert [step("empty_room", (5, 5), action) for action in range(4)] == [(4, 5), (6, 5), (5, 4), (5, 6)]
    assert step("empty_room", (0, 0), UP) == step("empty_room", (0, 0), LEFT) == (0, 0)
    assert step("empty_room", (10, 10), DOWN) == step("empty_room", (10, 10), RIGHT) == (10, 10)


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), ("S#.", "...")])
def test_every_step_from_every_cell_goes_where_the_drawing_says(layout):
    free = [(r, c) for r, row in enumerate(layout) for c, cell in enumerate(row) if cell != "#"]
    env, place = GridMazeEnv(layout, len(free), slip=0.0), torch.tensor(free, dtype=torch.float)
    for action, (down, right) in enumerate(MOVES):
        ahead = [(r + down, c + right) for r, c in free]
        expected = [there if there in free else here for here, there in zip(free, ahead, strict=True)]
        moved = env.move(place, torch.full((len(free),), action))
        assert [tuple(cell) for cell in moved.int().tolist()] == expected


def test_the_rooms_are_joined_by_four_doors_and_every_goal_is_within_reach():
    rows = LAYOUTS["four_rooms"]
    assert [len(rows), *{len(row) for row in rows}] == [11, 11] and sum(row.count("#") for row in rows) == 17
    for corner in ((0, 0), (0, 10), (10, 0), (10, 10)):
        ways = distances(rows, corner)
        assert len(ways) == 121 - 17 and max(ways.values()) <= 24
    for door in ((5, 1), (2, 5), (6, 8), (9, 5)):
        closed = [list(row) for row in rows]
        closed[door[0]][door[1]] = "#"
        longer = distances(closed, (0, 0))
        assert sum(longer.values()) > sum(way for cell, way in distances(rows, (0, 0)).items() if cell != door)


def success_of(layout, steps, slip, choose):
    """Probability that a goal is reached in time, the mean over starts and goals, by dynamic programming."""
    rows = LAYOUTS[layout]
    cells = {(r, c): None for r, row in enumerate(rows) for c, cell in enumerate(row) if cell != "#"}
    number = {cell: index for index, cell in enumerate(cells)}
    there = [[number.get((r + down, c + right), number[r, c]) for r, c in cells] for down, right in MOVES]
    goal = torch.eye(len(cells)).bool()
    value = goal.double()  # [goal, place]
    for _ in range(steps):
        after = value[:, torch.tensor(there)]
        value = torch.where(goal, 1.0, (1 - slip) * choose(after) + slip * after.mean(1))
    starts = [number[cell] for cell in cells if rows[cell[0]][cell[1]] == "S"]
    goals = [number[cell] for cell in cells if rows[cell[0]][cell[1]] == "."]
    return value[goals][:, starts].mean().item()


def test_success_rates_of_the_best_and_of_the_random_policy():
    """The figures of docs/tasks.md agree with the environment."""
    assert success_of("four_rooms", 32, 0.2, lambda after: after.amax(1)) == pytest.approx(0.998, abs=5e-4)
    assert success_of("empty_room", 32, 0.0, lambda after: after.amax(1)) == 1.0
    chance = {layout: success_of(layout, 32, 0.0, lambda after: after.mean(1)) for layout in LAYOUTS}
    assert chance["four_rooms"] == pytest.approx(0.115, abs=5e-4)
    for layout, expected in chance.items():
        env = GridMazeEnv(layout, 4000, seed=0)
        reached = env.task().success(env.rollout(32)).any(-1).double().mean().item()
        assert abs(reached - expected) < 5 * (expected * (1 - expected) / 4000) ** 0.5


@pytest.mark.parametrize(("layout", "starts"), [("empty_room", 1), ("four_rooms", 4)])
def test_starts_and_goals_are_uniform_and_apart(layout, starts):
    state = GridMazeEnv(layout, 8000, seed=0).reset()
    drawn = {"S": state["achieved_goal"], ".": state["desired_goal"]}
    for cell, positions in drawn.items():
        wanted = {(r, c) for r, row in enumerate(LAYOUTS[layout]) for c, what in enumerate(row) if what == cell}
        places, counts = positions.int().unique(dim=0, return_counts=True)
        assert {tuple(place) for place in places.tolist()} == wanted
        expected = 8000 / len(wanted)
        assert (counts - expected).abs().max() < 5 * expected**0.5
    assert len(drawn["S"].unique(dim=0)) == starts


@pytest.mark.parametrize(("layout", "share"), [("empty_room", 0.0), ("four_rooms", 0.2)])
def test_actions_slip_as_often_as_said_and_to_any_direction(layout, share):
    env = GridMazeEnv(layout, 20000, seed=0)
    start = torch.tensor([[8.0, 2.0]]).expand(20000, 2)
    moved = env.move(start, torch.full((20000,), UP)) - start
    counts = [(moved == torch.tensor([move])).all(-1).sum().item() for move in MOVES]
    expected = [20000 * (1 - 0.75 * share), *[20000 * share / 4] * 3]
    assert all(abs(count - want) <= 5 * want**0.5 for count, want in zip(counts, expected, strict=True))


def test_an_episode_lasts_its_horizon_and_success_is_the_same_cell():
    batch = GridMazeEnv("empty_room", 200, 8, seed=0).rollout(100)
    assert batch.shape == (200, 8) and batch["next", "truncated"][:, -1].all() and not batch["next", "terminated"].any()
    reached = (batch["next", "achieved_goal"] == batch["desired_goal"]).all(-1, keepdim=True)
    assert torch.equal(batch["next", "is_success"], reached) and reached.any()
    assert torch.equal(GridMazeEnv().task().success(batch), reached.squeeze(-1))


def test_a_seed_repeats_starts_goals_and_slips():
    def positions(seed):
        env = GridMazeEnv("four_rooms", 8, seed=seed)
        return env.rollout(32, lambda td: td.set("action", torch.zeros(8, dtype=torch.int64)))["next", "achieved_goal"]

    assert torch.equal(positions(3), positions(3)) and not torch.equal(positions(3), positions(4))


@pytest.mark.parametrize(
    "layout",
    ["five_rooms", [], ("S.", "."), ("S.", ".x"), ("..", ".."), ("SS", "SS")],
    ids=["unknown", "nothing", "ragged", "a strange cell", "no start", "no goal"],
)
def test_an_invalid_maze_is_refused(layout):
    with pytest.raises(ValueError, match="GridMazeEnv: layout must be "):
        GridMazeEnv(layout)


@pytest.mark.parametrize("slip", [-0.1, 1.5])
def test_a_slip_is_a_probability(slip):
    with pytest.raises(ValueError, match=r"GridMazeEnv: slip must be in \[0, 1\]"):
        GridMazeEnv(slip=slip)
