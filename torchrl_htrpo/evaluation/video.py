"""Moving pictures of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import imageio.v3 as imageio
import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase, ExplorationType, set_exploration_type

from torchrl_htrpo.evaluation.rollout import elsewhere


class Renders(Protocol):
    """An environment that can draw itself."""

    def render(self, *, width: int, height: int) -> NDArray[np.uint8]:
        """The present picture ``[H, W, 3]``."""


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
    """Write a GIF of episodes, greedy unless said otherwise.

    Args:
        env: an environment with ``render(width=, height=) -> [H, W, 3]`` (of its first world).
        actor: the policy.
        path: the picture.
        episodes: how many, one after another.
        horizon: steps of an episode.
        size: of the picture [pixels].
        fps: frames per second.
        exploration: which action the policy is asked for, as in :func:`evaluate`.

    Returns:
        The picture's file.

    Raises:
        TypeError: if the environment cannot draw itself.
    """
    if not callable(getattr(env, "render", None)):
        raise TypeError(f"record_gif: env must have a render method, got {type(env).__name__}")
    frames: list[NDArray[np.uint8]] = []

    def draw(env: Renders, tensordict: TensorDictBase) -> None:
        frames.append(env.render(width=size, height=size))

    with torch.no_grad(), set_exploration_type(exploration):
        for _ in range(episodes):
            last = env.rollout(horizon, actor, callback=draw, auto_cast_to_device=elsewhere(actor, env))[..., -1]
            draw(env, last)  # a rollout does not call back after its last step
    imageio.imwrite(path, np.stack(frames), duration=1000 / fps, loop=0)
    return path
