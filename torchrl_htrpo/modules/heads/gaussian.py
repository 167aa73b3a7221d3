"""Heads of unimodal continuous actions."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import NormalParamExtractor
from torch import Tensor, distributions, nn
from torchrl.modules.distributions import IndependentNormal, TanhNormal

from torchrl_htrpo._errors import count, flag, number, refusal
from torchrl_htrpo.modules.heads.base import PolicyHead


class GaussianHead(PolicyHead):
    r"""Independent Gaussians with a state-independent scale: ``mean = tanh(features)``, ``scale = max(exp(s), floor)``.

    Args:
        action_size: dimensions of the action.
        init_scale: standard deviation at the start, in units of the action.
        min_scale: floor of the standard deviation. Its gradient is 0 there, so a dimension at the floor stays there.
        bound_mean: squash the mean into (-1, 1) with tanh.

    Raises:
        ValueError: if ``init_scale`` is below ``min_scale``.

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
        count(self, "action_size", action_size)
        number(self, "min_scale", min_scale, 0)
        number(self, "init_scale", init_scale, 0, above=True)
        if init_scale < min_scale:
            raise ValueError(refusal(self, "init_scale", f"of at least min_scale = {min_scale}", init_scale))
        flag(self, "bound_mean", bound_mean)
        super().__init__(action_size)
        self.min_scale, self.bound_mean = min_scale, bound_mean
        self.log_scale = nn.Parameter(torch.full((action_size,), float(init_scale)).log())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``[*B, action_size]``."""
        loc = features.tanh() if self.bound_mean else features
        return loc, self.log_scale.exp().clamp_min(self.min_scale).expand_as(loc)

    def metrics(self, params: TensorDictBase) -> dict[str, Tensor]:
        """See :class:`PolicyHead`: the share of dimensions whose scale is at its floor."""
        return {"collapsed_share": (params.get("scale") <= self.min_scale).float().mean()}

    @property
    def warnings(self) -> dict[str, str]:
        """See :class:`PolicyHead`."""
        return {"collapsed_share": "dimensions of the action have reached min_scale, where their gradient is 0"}


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
        count(self, "action_size", action_size)
        number(self, "min_scale", min_scale, 0)
        super().__init__(2 * action_size)
        self.extract = NormalParamExtractor(scale_mapping="biased_softplus_1.0", scale_lb=min_scale)

    @property
    def distribution_kwargs(self) -> dict[str, Any]:
        """The bounds of the action, and the event dimension."""
        return {"low": -1.0, "high": 1.0, "event_dims": 1}

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale before squashing, each ``[*B, action_size]``."""
        return self.extract(features)


class FullCovarianceHead(PolicyHead):
    r"""A Gaussian with a state-dependent mean and covariance :math:`L L^\top`.

    Args:
        action_size: dimensions of the action.
        init_scale: diagonal of :math:`L` at the start, in units of the action.
        min_scale: its floor.
        bound_mean: squash the mean into (-1, 1) with tanh.

    Example:
        >>> loc, scale_tril = FullCovarianceHead(2)(torch.zeros(1, 5))
        >>> scale_tril[0]
        tensor([[1., 0.],
                [0., 1.]])
    """

    distribution_class = distributions.MultivariateNormal
    param_keys = ("loc", "scale_tril")
    place: Tensor

    def __init__(
        self, action_size: int, init_scale: float = 1.0, min_scale: float = 0.1, bound_mean: bool = True
    ) -> None:
        count(self, "action_size", action_size)
        number(self, "init_scale", init_scale, 0, above=True)
        number(self, "min_scale", min_scale, 0)
        flag(self, "bound_mean", bound_mean)
        rows, columns = torch.tril_indices(action_size, action_size, -1)
        super().__init__(2 * action_size + len(rows))
        self.action_size, self.bound_mean = action_size, bound_mean
        self.extract = NormalParamExtractor(scale_mapping=f"biased_softplus_{init_scale}", scale_lb=min_scale)
        place = nn.functional.one_hot(rows * action_size + columns, action_size**2).to(torch.get_default_dtype())
        self.register_buffer("place", place, persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``[*B, action_size]`` and the lower triangle :math:`L` ``[*B, action_size, action_size]``."""
        size = self.action_size
        loc, diagonal = self.extract(features[..., : 2 * size])
        below = (features[..., 2 * size :] @ self.place).unflatten(-1, (size, size))
        return loc.tanh() if self.bound_mean else loc, torch.diag_embed(diagonal) + below
