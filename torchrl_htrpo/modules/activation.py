"""A fast hyperbolic tangent."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tanh(nn.Module):
    r"""The hyperbolic tangent, faster than ``torch.nn.Tanh`` on a CPU.

    .. math:: \tanh x = 2 \sigma(2x) - 1

    On a CPU it uses PyTorch's logistic function, which takes a tenth of the time of ``torch.tanh``; the latter costs
    half as much as the matrix products of a layer with 256 units (``docs/performance.md``). In float32 the results
    agree within 2e-7, absolute. On an accelerator it is ``torch.tanh``.

    Example:
        >>> x = torch.linspace(-3, 3, 7, dtype=torch.float64)
        >>> torch.allclose(Tanh()(x), x.tanh(), rtol=0, atol=1e-15)
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the hyperbolic tangent of each element of ``x``."""
        # rsub computes the difference and the multiple in one pass over the memory.
        return torch.rsub(torch.sigmoid(x + x), -1, alpha=-2) if x.device.type == "cpu" else x.tanh()
