"""Draw a policy: frames, and GIFs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase, ExplorationType, set_exploration_type

from torchrl_htrpo.envs.adapters.picture import picture
from torchrl_htrpo.evaluation.rollout import elsewhere


def record_gif(
    env: EnvBase,
    actor: TensorDictModuleBase,
    path: Path,
    *,
    episodes: int,
    horizon: int,
    size: int = 240,
    fps: float = 25.0,
    exploration: ExplorationType = ExplorationType.DETERMINISTIC,
) -> Path:
    """Write a GIF of episodes, by default with greedy actions.

    Args:
        env: an environment, of which the first world is rendered: with ``render(width=, height=) -> [H, W, 3]``, or one
            of gymnasium made with ``render_mode="rgb_array"``.
        actor: the policy.
        path: the picture.
        episodes: how many, one after another.
        horizon: steps of an episode.
        size: width and height of the picture [pixels]; the larger of both, if the environment has another aspect ratio.
        fps: frames per second.
        exploration: type of the actions, as in :func:`evaluate`.

    Returns:
        The picture's file.

    Raises:
        TypeError: if the environment cannot be rendered.
    """
    frames = record_frames(env, actor, episodes=episodes, horizon=horizon, size=size, exploration=exploration)
    return write_gif(frames, path, fps)


def record_frames(
    env: EnvBase,
    actor: TensorDictModuleBase,
    *,
    episodes: int,
    horizon: int,
    size: int = 240,
    exploration: ExplorationType = ExplorationType.DETERMINISTIC,
) -> NDArray[np.uint8]:
    """Draw episodes, with the arguments of :func:`record_gif`: ``[episodes * horizon, H, W, 3]``, or fewer frames."""
    frames: list[NDArray[np.uint8]] = []

    def draw(env: EnvBase, tensordict: TensorDictBase) -> None:
        frames.append(picture("record_gif", env, size, size))

    with torch.no_grad(), set_exploration_type(exploration):
        for _ in range(episodes):
            last = env.rollout(horizon, actor, callback=draw, auto_cast_to_device=elsewhere(actor, env))[..., -1]
            draw(env, last)  # a rollout does not call the callback after its last step
    return np.stack(frames)


def write_gif(frames: NDArray[np.uint8], path: Path, fps: float = 25.0) -> Path:
    """Write frames ``[T, H, W, 3]`` as a GIF; return its path."""
    import imageio.v3 as imageio  # noqa: PLC0415  (importing the library must not load it)

    imageio.imwrite(path, frames, duration=1000 / fps, loop=0)
    return path


def check_drawable(owner: object, env: EnvBase) -> None:
    """Raise a RuntimeError that says why an environment cannot be drawn; resets it."""
    env.reset()
    try:
        picture(owner, env, 16, 16)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise RuntimeError(f"the environment cannot be drawn: {error}") from error
