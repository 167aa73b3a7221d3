"""Divergences and advantages on plain tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def qkl(log_ratio: Tensor) -> Tensor:
    r"""Quadratic KL divergence: :math:`\frac12 (\log\tilde\pi - \log\pi)^2` (Proposition 1, eq. 4).

    Args:
        log_ratio: :math:`\log\pi_\theta - \log\tilde\pi` of actions drawn from :math:`\tilde\pi`, any shape.

    Returns:
        The same shape, nats, never negative.

    Example:
        >>> qkl(torch.tensor([0.0, 0.2]))
        tensor([0.0000, 0.0200])
    """
    return 0.5 * log_ratio.square()


def sampled_kl(log_ratio: Tensor) -> Tensor:
    r"""Plain sampled KL divergence: :math:`\log\tilde\pi - \log\pi_\theta` (the "w/o QKL" ablation); may be negative.

    Args:
        log_ratio: :math:`\log\pi_\theta - \log\tilde\pi`, any shape.

    Returns:
        The same shape, nats.

    Example:
        >>> sampled_kl(torch.tensor([0.2]))
        tensor([-0.2000])
    """
    return -log_ratio


def td_from_targets(reward: Tensor, value: Tensor, next_target: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    r"""One-step advantage from a target: :math:`r + \gamma (1 - \mathrm{terminated}) v' - V(s, g')`.

    Args:
        reward: ``[*B, T, 1]``.
        value: :math:`V(s_t, g')` ``[*B, T, 1]``.
        next_target: estimate :math:`v'` of the value of the next state ``[*B, T, 1]``.
        terminated: ``[*B, T, 1]``.
        gamma: discount.

    Returns:
        ``[*B, T, 1]``.

    Example:
        >>> one = torch.ones(1, 1, 1)
        >>> td_from_targets(one, 0.5 * one, one, one.bool(), 0.9).item()
        0.5
    """
    return reward + gamma * torch.where(terminated, 0, next_target) - value
