"""Render environments with or without a size as argument of ``render``."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torchrl_htrpo._errors import refusal


def picture(owner: object, env: Any, width: int, height: int) -> NDArray[np.uint8]:
    """Render an environment in ``width`` x ``height`` pixels, or as large as its aspect ratio fits in: ``[H, W, 3]``.

    The environment has ``render(width=, height=)``, or gymnasium's ``render()`` with ``render_mode="rgb_array"``. Raise
    a TypeError that names ``owner`` if it cannot be rendered.
    """
    render = getattr(env, "render", None)
    if not callable(render):
        inner = getattr(env, "base_env", env)
        raise TypeError(refusal(owner, "env", "an environment with a render method", type(inner).__name__))
    sized = {"width", "height"} <= inspect.signature(render).parameters.keys()
    try:
        drawn = render(width=width, height=height) if sized else render()
    except NotImplementedError:  # the default of gymnasium.Env
        drawn = None
    if not isinstance(drawn, np.ndarray):
        expected = 'one that returns pictures (make it with render_mode="rgb_array")'
        raise TypeError(refusal(owner, "env", expected, f"{type(drawn).__name__} from its render()"))
    return drawn if sized else _fitted(drawn, width, height)


def _fitted(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    scale = min(height / image.shape[0], width / image.shape[1])
    size = [max(1, round(side * scale)) for side in image.shape[:2]]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0)
    small = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).numpy()
