"""Weights of rows, and their effective sample size."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import require_shape
from torchrl_htrpo.batch.mask import validity


def row_weights(tensordict: TensorDictBase, key: NestedKey, like: Tensor) -> Tensor:
    """Get the weight of each row: the entry ``key``, or equal weights that sum to 1; 0 on masked rows.

    Args:
        tensordict: ``[*B]``.
        key: of the weights.
        like: sets the dtype and the device of equal weights.

    Returns:
        ``[*B]``.

    Raises:
        ValueError: if the weights have another shape.

    Example:
        >>> from tensordict import TensorDict
        >>> row_weights(TensorDict(batch_size=[4]), "importance_weight", like=torch.zeros(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    shape = tensordict.batch_size
    require_shape("row_weights", tensordict, [], key)
    live, weight = validity(tensordict), tensordict.get(key, default=None)
    weight = live.sum().clamp_min(1).to(like).reciprocal().expand(shape) if weight is None else weight
    return torch.where(live, weight, 0)


def effective_sample_size(weights: Tensor) -> Tensor:
    r"""Effective sample size :math:`(\sum w)^2 / \sum w^2` of a set of weights (appendix G.2).

    Args:
        weights: any shape, not negative.

    Returns:
        A scalar between 1 and the number of weights (0 if there are none).

    Example:
        >>> effective_sample_size(torch.tensor([1.0, 1.0, 0.0]))
        tensor(2.)
    """
    squares = weights.square().sum()
    return torch.where(squares > 0, weights.sum().square() / squares, squares)
