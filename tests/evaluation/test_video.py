"""A GIF holds every step of greedy episodes."""

from __future__ import annotations

import imageio.v3 as imageio
import numpy as np
import pytest
from torchrl.envs import ExplorationType
from torchrl.envs.utils import exploration_type

from tests.envs.failing import Walk
from torchrl_htrpo.envs import BitFlipEnv, make_goal_env
from torchrl_htrpo.evaluation import record_gif
from torchrl_htrpo.modules import CategoricalHead, GaussianHead, make_actor


class Drawn(BitFlipEnv):
    """Render each picture in another grey, and store the requested size."""

    pictures = 0

    def render(self, *, width, height):
        self.pictures += 1
        self.size = (width, height)
        return np.full((height, width, 3), 10 * self.pictures, np.uint8)


@pytest.fixture
def actor():
    return make_actor(CategoricalHead(4), 8, (8,))


def test_every_step_of_every_episode_is_a_picture_in_order(tmp_path, actor):
    env = Drawn(4, seed=0)
    file = record_gif(env, actor, tmp_path / "policy.gif", episodes=2, horizon=4, size=16, fps=20)
    frames = imageio.imread(file)
    assert frames.shape == (8, 16, 16, 3) and env.size == (16, 16)
    assert frames[:, 0, 0, 0].tolist() == [10 * k for k in range(1, 9)]
    assert imageio.immeta(file)["duration"] == 50  # milliseconds


@pytest.mark.parametrize("exploration", [ExplorationType.RANDOM, ExplorationType.DETERMINISTIC])
def test_the_exploration_type_is_passed_to_the_policy(tmp_path, actor, exploration):
    asked = []
    actor.register_forward_hook(lambda *_: asked.append(exploration_type()))
    record_gif(Drawn(4), actor, tmp_path / "policy.gif", episodes=1, horizon=4, size=16, exploration=exploration)
    assert asked == [exploration] * 4


def test_an_environment_of_gymnasium_is_drawn_by_its_standard_mode(tmp_path):
    pytest.importorskip("gymnasium_robotics")

    class Marked(Walk):
        render_mode = "rgb_array"

        def render(self):
            picture = np.zeros((30, 60, 3), np.uint8)
            picture[:, : 10 * (self.steps + 1)] = 255
            return picture

    env = make_goal_env(Marked, 1, seed=0)
    policy = make_actor(GaussianHead(2), 4, (8,))
    frames = imageio.imread(record_gif(env, policy, tmp_path / "a.gif", episodes=1, horizon=4, size=20))
    assert frames.shape == (4, 10, 20, 3)
    assert (np.diff(frames[..., 0].mean((1, 2))) > 20).all()
    with pytest.raises(TypeError, match="rgb_array"):
        record_gif(make_goal_env(Walk, 1), policy, tmp_path / "b.gif", episodes=1, horizon=4)


def test_an_environment_that_cannot_draw_itself_is_refused_by_name(tmp_path, actor):
    with pytest.raises(TypeError, match="render method, got 'BitFlipEnv'"):
        record_gif(BitFlipEnv(4), actor, tmp_path / "policy.gif", episodes=1, horizon=4)
    assert not list(tmp_path.iterdir())
