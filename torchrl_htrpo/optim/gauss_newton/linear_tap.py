"""Record the linear layers of a function of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class LinearCall:
    """One evaluation of ``y = x W^T + b``."""

    weight: NestedKey
    bias: NestedKey | None
    x: Tensor
    y: Tensor


class LinearTap(TorchFunctionMode):
    """Record each linear layer whose weights are among given leaves, and detach these weights from the graph.

    Derivatives through the graph then exclude the recorded calls, and include other uses of a leaf. ``keys`` maps
    ``id(leaf)`` to the key of the leaf.
    """

    def __init__(self, keys: Mapping[int, NestedKey]) -> None:
        super().__init__()
        self.keys = keys
        self.calls: list[LinearCall] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and record it if it is a linear layer."""
        if func is functional.linear and not kwargs and torch.is_grad_enabled() and self._owns(*args):
            return self._record(*args)
        return func(*args, **(kwargs or {}))

    def _owns(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
        cast = x.dtype != weight.dtype or torch.is_autocast_enabled(x.device.type)
        return not cast and id(weight) in self.keys and (bias is None or id(bias) in self.keys)

    def _record(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = functional.linear(x, weight.detach(), None if bias is None else bias.detach())
        y = y if y.requires_grad else y.requires_grad_()
        self.calls.append(
            LinearCall(self.keys[id(weight)], None if bias is None else self.keys[id(bias)], x.detach(), y)
        )
        return y.clone()  # Later operations may overwrite their input.
