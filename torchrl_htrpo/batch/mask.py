"""Masks of trajectories: valid steps, ends, last steps."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import refusal

MASK_KEY: NestedKey = ("collector", "mask")


def validity(tensordict: TensorDictBase) -> Tensor:
    """Get the mask of a batch of trajectories; all True if it has none.

    Args:
        tensordict: ``[*B, T]``, perhaps with TorchRL's ``("collector", "mask")``.

    Returns:
        Booleans ``[*B, T]``.

    Raises:
        ValueError: if the mask has another shape, or is not of booleans.
    """
    mask = tensordict.get(MASK_KEY, default=None)
    if mask is not None:
        shape = tensordict.batch_size
        if mask.shape not in (shape, (*shape, 1)) or mask.dtype != torch.bool:
            expected = f"of booleans of shape {list(shape)}"
            raise ValueError(refusal("validity", repr(MASK_KEY), expected, f"{mask.dtype} {list(mask.shape)}"))
        return mask.reshape(shape)
    leaf = next(iter(tensordict.values(True, True)), None)
    device = tensordict.device if leaf is None else leaf.device
    return torch.ones(tensordict.batch_size, dtype=torch.bool, device=device)


def beyond_end(done: Tensor) -> Tensor:
    """Mark the steps after the end of the first trajectory of each row.

    Args:
        done: ``[*B, T]``.

    Returns:
        Booleans ``[*B, T]``.

    Example:
        >>> beyond_end(torch.tensor([False, True, False, True]))
        tensor([False, False,  True,  True])
    """
    return done.cumsum(-1) - done.long() > 0


def last_steps(live: Tensor) -> Tensor:
    """Mark the last live step of each trajectory.

    Args:
        live: ``[*B, T]``, a run of steps in each row.

    Returns:
        Booleans ``[*B, T]``.

    Example:
        >>> last_steps(torch.tensor([True, True, False]))
        tensor([False,  True, False])
    """
    return live & ~torch.cat((live[..., 1:], torch.zeros_like(live[..., :1])), -1)
