"""Take a gradient step that refuses NaN and inf."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from torchrl_htrpo.distributed import Group, all_sum_


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, process_group: Group = None) -> None:
    """Take one gradient step on a loss; raise a RuntimeError if the gradient has NaN or inf.

    Args:
        optimizer: holds the parameters.
        loss: a scalar.
        process_group: processes with other terms of the loss; the step is on the sum of all.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> descend(torch.optim.SGD([weight], lr=0.5), weight.square().sum())
        >>> weight.item()
        0.0
    """
    optimizer.zero_grad()
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    all_sum_([parameter.grad for parameter in parameters if parameter.grad is not None], process_group)
    clip_grad_norm_(parameters, inf, error_if_nonfinite=True)  # an infinite bound: only compute the norm and check it
    optimizer.step()
