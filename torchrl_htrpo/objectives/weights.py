"""How much each row of a batch counts."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

MASK_KEY: NestedKey = ("collector", "mask")


def row_weights(tensordict: TensorDictBase, key: NestedKey) -> Tensor:
    """The weight of each row: the entry ``key``, or equal weights that sum to 1; zero where the mask says so.

    Args:
        tensordict: ``[*B]``.
        key: of the weights.

    Returns:
        ``[*B]``.

    Example:
        >>> from tensordict import TensorDict
        >>> row_weights(TensorDict(x=torch.zeros(4), batch_size=[4]), "importance_weight")
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    mask = tensordict.get(MASK_KEY, default=None)
    weight = tensordict.get(key, default=None)
    if weight is None:
        live = torch.ones(tensordict.batch_size, device=_device(tensordict)) if mask is None else mask.float()
        return live / live.sum().clamp_min(1)
    return weight if mask is None else torch.where(mask, weight, 0)


def _device(tensordict: TensorDictBase) -> torch.device:
    return next(iter(tensordict.values(True, True))).device
