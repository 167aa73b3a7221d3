"""Goal-reaching Ms. Pac-Man: TorchRL's contract, goals, ends, seeds, workers."""

from __future__ import annotations

import pytest
import torch
from torchrl.envs import check_env_specs

pytest.importorskip("ale_py", reason="Ms. Pac-Man needs ale-py (the extra `atari`)")

from torchrl_htrpo.envs import MsPacmanEnv, make_goal_env
from torchrl_htrpo.envs.ms_pacman.game import MAP


@pytest.fixture(scope="module")
def played():
    """Many steps of random play, one episode after another ``[600]``."""
    return MsPacmanEnv(seed=0).rollout(600, break_when_any_done=False)


def test_passes_check_env_specs():
    check_env_specs(MsPacmanEnv(4, seed=0))


def test_pixels_stay_bytes_and_goals_are_cells(played):
    assert played["observation"].dtype == torch.uint8 and played["observation"].shape == (600, 4, 84, 84)
    for key in ("achieved_goal", "desired_goal"):
        assert played[key].dtype == torch.float32 and played[key].shape == (600, 2)
        assert all(MAP[row][column] != "#" for row, column in played[key].int().tolist())
    assert all(MAP[row][column] == "." for row, column in played["desired_goal"].int().tolist())


def test_an_episode_ends_after_its_steps_or_with_contact_and_only_then(played):
    terminated, truncated = (played["next", name].squeeze(-1) for name in ("terminated", "truncated"))
    ends = played["next", "done"].squeeze(-1)
    assert torch.equal(ends, terminated | truncated) and terminated.any() and (truncated & ~terminated).any()
    assert torch.equal(truncated, played["next", "step_count"].squeeze(-1) == 26)
    starts = torch.cat((torch.tensor([True]), ends[:-1]))
    assert torch.equal(starts, played["step_count"].squeeze(-1) == 0)
    # Inside an episode the state after a step is the state before the next, and the goal stays.
    inside = ~ends[:-1]
    for key in ("observation", "achieved_goal", "desired_goal"):
        assert torch.equal(played["next", key][:-1][inside], played[key][1:][inside])


def test_success_is_the_same_cell(played):
    reached = (played["next", "achieved_goal"] == played["desired_goal"]).all(-1, keepdim=True)
    assert torch.equal(played["next", "is_success"], reached)
    assert torch.equal(MsPacmanEnv().task().success(played), reached.squeeze(-1))
    assert torch.equal(played["next", "reward"], reached.float() - 1)


def test_goals_cover_the_map_but_not_the_corridor_of_the_start():
    env = MsPacmanEnv(seed=0)
    goals = {tuple(env.reset()["desired_goal"].int().tolist()) for _ in range(400)}
    assert len(goals) > 130  # of 155; 144 are expected
    assert {env.reset()["achieved_goal"].int().tolist()[1] for _ in range(40)} == {9, 10}


def test_a_seed_and_a_restored_state_repeat_the_episodes():
    env, left = MsPacmanEnv(seed=3), torch.tensor(2)
    first = env.rollout(5, lambda td: td.set("action", left))
    state = env.rng_state()
    coming = env.reset()
    env.set_seed(3)
    assert (env.rollout(5, lambda td: td.set("action", left)) == first).all()
    env.set_rng_state(state)
    assert (env.reset() == coming).all()
    assert (MsPacmanEnv(seed=4).reset()["desired_goal"] != first["desired_goal"][0]).any()


def test_make_goal_env_makes_several_with_and_without_workers():
    def play(workers):
        env = make_goal_env("ms_pacman", 2, horizon=3, seed=0, num_workers=workers, start_method="fork")
        dice = torch.Generator().manual_seed(0)
        steps = env.rollout(
            6, lambda td: td.set("action", torch.randint(4, (2,), generator=dice)), break_when_any_done=False
        )
        env.close()
        return steps

    batches = [play(0), play(2)]
    assert batches[0].shape == (2, 6) and (batches[0] == batches[1]).all()
    assert batches[0]["observation"].dtype == torch.uint8 and batches[0]["next", "truncated"][:, 2].all()


def test_the_picture_shows_the_goal():
    env = MsPacmanEnv(seed=0)
    row = int(env.reset()["desired_goal"][0])
    picture = env.render(320, 420)
    assert picture.shape == (420, 320, 3)
    rows, _ = (picture == 255).all(-1).nonzero()
    assert len(rows) and row * 24 <= rows.min() and rows.max() < row * 24 + 24


def test_the_horizon_must_be_positive():
    with pytest.raises(ValueError, match="MsPacmanEnv: horizon must be a positive integer, got 0"):
        MsPacmanEnv(0)
