"""Take a gradient step that refuses NaN and inf."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.distributed import Group, all_sum_, ranks_where


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
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    finite = bool(get_total_norm(gradients, inf).isfinite())
    all_sum_(gradients, process_group)
    if not get_total_norm(gradients, inf).isfinite():
        where = f" from processes {ranks_where(not finite, process_group)}" if process_group else ""
        raise RuntimeError(refusal("descend", "gradients", "finite", f"NaN or inf{where}"))
    optimizer.step()
