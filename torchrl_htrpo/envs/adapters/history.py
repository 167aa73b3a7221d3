"""Add the history of observations to an environment."""

from __future__ import annotations

from tensordict import NestedKey
from torchrl.envs import CatFrames, Compose, EnvBase, TransformedEnv, UnsqueezeTransform

from torchrl_htrpo._errors import count


def with_history(
    env: EnvBase, steps: int, *, observation: NestedKey = "observation", history: NestedKey = "history"
) -> TransformedEnv:
    """Make an environment write the last observations of the episode, for a policy with a memory.

    Args:
        env: any environment.
        steps: how many observations (``W``); the horizon of the task for a memory of the whole episode.
        observation: key of the observation ``[*B, d_o]``.
        history: key of the history ``[*B, W, d_o]``, the present last, zeros where the episode had not begun.

    Returns:
        The environment with one entry more.

    Raises:
        ValueError: if ``steps`` is not positive.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> with_history(BitFlipEnv(4, num_envs=2), steps=3).rollout(4)["history"].shape
        torch.Size([2, 4, 3, 4])
    """
    count("with_history", "steps", steps)
    time = UnsqueezeTransform(-2, in_keys=[observation], out_keys=[history])
    frames = CatFrames(N=steps, dim=-2, in_keys=[history], padding="constant", padding_value=0)
    return TransformedEnv(env, Compose(time, frames), auto_unwrap=True)
