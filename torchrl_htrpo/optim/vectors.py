"""Arithmetic on vectors of parameters, stored as tensordicts."""

from __future__ import annotations

from functools import reduce

import torch
from tensordict import TensorDictBase
from torch import Tensor


def dot(a: TensorDictBase, b: TensorDictBase) -> Tensor:
    """The inner product of two vectors, accumulated in float64.

    Example:
        >>> from tensordict import TensorDict
        >>> v = TensorDict(x=torch.ones(2), y=torch.ones(3))
        >>> dot(v, v)
        tensor(5., dtype=torch.float64)
    """
    parts = [(a.get(key) * b.get(key)).sum(dtype=torch.float64) for key in a.keys(True, True)]
    return reduce(torch.add, parts)


def axpy(scale: Tensor | float, x: TensorDictBase, y: TensorDictBase) -> TensorDictBase:
    """``scale * x + y``, a new vector in the dtype of ``y``.

    Example:
        >>> from tensordict import TensorDict
        >>> axpy(2.0, TensorDict(x=torch.ones(2)), TensorDict(x=torch.ones(2)))["x"]
        tensor([3., 3.])
    """
    # Do not convert a Python number to a tensor: that would round it to float32.
    return y.apply(lambda b, a: b + a * (scale.to(b) if isinstance(scale, Tensor) else scale), x)
