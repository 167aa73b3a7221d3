"""Policy heads: how the features of a network become the parameters of an action distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from tensordict.nn import NormalParamExtractor
from torch import Tensor, distributions, nn
from torchrl.modules.distributions import IndependentNormal, OneHotCategorical, TanhNormal


class PolicyHead(nn.Module):
    """A head turns ``num_features`` features into the parameters of :attr:`distribution_class`.

    Subclasses set the class attributes and implement :meth:`forward`; nothing else in the library asks which
    distribution it is.
    """

    distribution_class: ClassVar[type]
    param_keys: ClassVar[tuple[str, ...]]

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    @property
    def distribution_kwargs(self) -> dict[str, Any]:
        """Constant arguments of the distribution."""
        return {}


class CategoricalHead(PolicyHead):
    """One of ``num_actions`` actions, as an index.

    Args:
        num_actions: how many actions there are.

    Example:
        >>> CategoricalHead(4)(torch.zeros(2, 4)).shape
        torch.Size([2, 4])
    """

    distribution_class = distributions.Categorical
    param_keys = ("logits",)

    def __init__(self, num_actions: int) -> None:
        super().__init__(num_actions)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[*B, num_actions]``, as they come."""
        return features


class OneHotHead(CategoricalHead):
    """One of ``num_actions`` actions, as a one-hot vector.

    Example:
        >>> OneHotHead(4).distribution_class.__name__
        'OneHotCategorical'
    """

    distribution_class = OneHotCategorical


class GaussianHead(PolicyHead):
    r"""Independent Gaussians with a state-independent scale: ``mean = tanh(features)``, ``scale = max(exp(s), floor)``.

    Args:
        action_size: dimensions of the action.
        init_scale: standard deviation at the start, in units of the action.
        min_scale: floor of the standard deviation.
        bound_mean: squash the mean into (-1, 1) with tanh.

    Example:
        >>> loc, scale = GaussianHead(2)(torch.zeros(3, 2))
        >>> scale[0]
        tensor([1., 1.], grad_fn=<SelectBackward0>)
    """

    distribution_class = IndependentNormal
    param_keys = ("loc", "scale")

    def __init__(
        self, action_size: int, init_scale: float = 1.0, min_scale: float = 0.1, bound_mean: bool = True
    ) -> None:
        super().__init__(action_size)
        self.min_scale, self.bound_mean = min_scale, bound_mean
        self.log_scale = nn.Parameter(torch.full((action_size,), float(init_scale)).log())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``[*B, action_size]``."""
        loc = features.tanh() if self.bound_mean else features
        return loc, self.log_scale.exp().clamp_min(self.min_scale).expand_as(loc)


class TanhNormalHead(PolicyHead):
    """Tanh-squashed Gaussians with state-dependent mean and scale; actions stay inside (-1, 1).

    Args:
        action_size: dimensions of the action.
        min_scale: floor of the standard deviation before squashing.

    Example:
        >>> loc, scale = TanhNormalHead(2)(torch.zeros(3, 4))
        >>> scale.shape
        torch.Size([3, 2])
    """

    distribution_class = TanhNormal
    param_keys = ("loc", "scale")

    def __init__(self, action_size: int, min_scale: float = 0.05) -> None:
        super().__init__(2 * action_size)
        self.extract = NormalParamExtractor(scale_mapping="biased_softplus_1.0", scale_lb=min_scale)

    @property
    def distribution_kwargs(self) -> dict[str, Any]:
        """The bounds of the action, and the event dimension."""
        return {"low": -1.0, "high": 1.0, "event_dims": 1}

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale before squashing, each ``[*B, action_size]``."""
        return self.extract(features)
