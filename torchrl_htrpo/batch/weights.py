"""How much each row of a batch counts."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from torchrl_htrpo.batch.mask import MASK_KEY


def row_weights(tensordict: TensorDictBase, key: NestedKey, like: Tensor) -> Tensor:
    """The weight of each row: the entry ``key``, or equal weights that sum to 1; zero where the mask says so.

    Args:
        tensordict: ``[*B]``.
        key: of the weights.
        like: sets the dtype and the device of equal weights.

    Returns:
        ``[*B]``.

    Example:
        >>> from tensordict import TensorDict
        >>> row_weights(TensorDict(batch_size=[4]), "importance_weight", like=torch.zeros(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    shape = tensordict.batch_size
    mask, weight = tensordict.get(MASK_KEY, default=None), tensordict.get(key, default=None)
    live = like.new_ones(shape, dtype=torch.bool) if mask is None else mask.reshape(shape)
    weight = live.sum().clamp_min(1).to(like).reciprocal().expand(shape) if weight is None else weight
    return torch.where(live, weight, 0)
