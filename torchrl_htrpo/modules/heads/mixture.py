"""Heads of multimodal continuous actions."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import NormalParamExtractor
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torchrl.modules.distributions import TanhNormal

from torchrl_htrpo._errors import count, flag, number, refusal
from torchrl_htrpo.modules.heads.base import PolicyHead

_IDLE = 1e-3  # mean weight below which a component counts as unused
_CLIMBS = 20  # mean-shift steps: few for a separate component, more for overlapping ones


class GaussianMixture(MixtureSameFamily):
    r"""A mixture of Gaussians, each with independent dimensions.

    Args:
        logits: of the components' weights ``[*B, K]``.
        loc: means ``[*B, K, d]``.
        scale: standard deviations ``[*B, K, d]``.

    Example:
        >>> mixture = GaussianMixture(torch.tensor([0.0, 1.0]), torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
        >>> mixture.mean, mixture.deterministic_sample
        (tensor([0.4621]), tensor([1.]))
        >>> GaussianMixture(torch.tensor([0.0, 1.0]), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), 0.1)).mode
        tensor([1.])
    """

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Categorical(logits=logits), Independent(Normal(loc, scale), 1))

    @property
    def centers(self) -> Tensor:
        """The greedy action of each component ``[*B, K, d]``."""
        return self.component_distribution.mean

    @property
    def deterministic_sample(self) -> Tensor:
        """Greedy action: the centre of the component with the largest weight (the mean may lie between modes)."""
        likeliest = self.mixture_distribution.logits.argmax(-1)[..., None, None]
        centers = self.centers
        return centers.gather(-2, likeliest.expand(*likeliest.shape[:-1], centers.shape[-1])).squeeze(-2)

    @property
    def mode(self) -> Tensor:
        """The mode of the density that mean shift finds from the greedy action.

        For separate components it is the greedy action itself. For overlapping components, whose centres are no modes
        of the mixture, it is the better greedy action: ``ExplorationType.MODE`` selects it.
        """
        components: Any = self.component_distribution
        loc, precision = components.base_dist.loc, components.base_dist.scale.pow(-2)
        action = self.deterministic_sample
        for _ in range(_CLIMBS):
            log_joint = self.mixture_distribution.logits + components.log_prob(action.unsqueeze(-2))
            pull = log_joint.softmax(-1).unsqueeze(-1) * precision
            action = (pull * loc).sum(-2) / pull.sum(-2)
        return action


class TanhGaussianMixture(GaussianMixture):
    """A mixture of Gaussians squashed into (-1, 1) by tanh; means and deviations are those before squashing."""

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor) -> None:
        squashed = TanhNormal(loc, scale, low=-1.0, high=1.0, event_dims=1)
        MixtureSameFamily.__init__(self, Categorical(logits=logits), squashed)

    @property
    def centers(self) -> Tensor:
        """The greedy action of each component ``[*B, K, d]``."""
        squashed: Any = self.component_distribution
        return squashed.deterministic_sample

    @property
    def mode(self) -> Tensor:
        """Tanh of the mode before squashing."""
        squashed: Any = self.component_distribution
        before = squashed.root_dist
        return GaussianMixture(self.mixture_distribution.logits, before.mean, before.stddev).mode.tanh()


class GaussianMixtureHead(PolicyHead):
    r"""A mixture of ``num_components`` Gaussians: weights, means and scales all depend on the state.

    The means are offset by a free parameter that starts at random, so that the components differ from the start.

    Args:
        action_size: dimensions of the action.
        num_components: how many Gaussians (``K``).
        init_scale: standard deviation at the start, in units of the action.
        min_scale: its floor.
        bound_mean: squash the means into (-1, 1) with tanh.
        spread: standard deviation of the offsets at the start.
        min_weight: floor of a component's weight, so that each is drawn now and then and may find a mode of its own.

    Raises:
        ValueError: if ``num_components`` is not positive, or ``min_weight`` not within [0, 1 / ``num_components``).

    Example:
        >>> logits, loc, scale = GaussianMixtureHead(2, num_components=3)(torch.zeros(5, 15))
        >>> logits.shape, loc.shape, scale.shape
        (torch.Size([5, 3]), torch.Size([5, 3, 2]), torch.Size([5, 3, 2]))
    """

    distribution_class = GaussianMixture
    param_keys = ("logits", "loc", "scale")

    def __init__(
        self,
        action_size: int,
        num_components: int = 8,
        init_scale: float = 1.0,
        min_scale: float = 0.1,
        bound_mean: bool = True,
        spread: float = 0.5,
        min_weight: float = 0.0,
    ) -> None:
        for name, size in (("action_size", action_size), ("num_components", num_components)):
            count(self, name, size)
        for name, value in (("min_scale", min_scale), ("spread", spread)):
            number(self, name, value, 0)
        number(self, "init_scale", init_scale, 0, above=True)
        number(self, "min_weight", min_weight)
        flag(self, "bound_mean", bound_mean)
        if not 0 <= min_weight * num_components < 1:
            raise ValueError(refusal(self, "min_weight", f"in [0, {1 / num_components:g})", min_weight))
        super().__init__(num_components * (1 + 2 * action_size))
        self.num_components, self.min_scale, self.bound_mean = num_components, min_scale, bound_mean
        self.min_weight = min_weight
        self.extract = NormalParamExtractor(scale_mapping=f"biased_softplus_{init_scale}", scale_lb=min_scale)
        offset = torch.randn(num_components, action_size)
        # Centre the components around the initial mean of a single Gaussian.
        self.offset = nn.Parameter(spread * (offset - offset.mean(0)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[*B, K]``, means ``[*B, K, action_size]`` and standard deviations ``[*B, K, action_size]``."""
        logits, rest = features.tensor_split((self.num_components,), -1)
        loc, scale = self.extract(rest.unflatten(-1, (self.num_components, -1)))
        loc = loc + self.offset
        if self.min_weight:
            free = 1 - self.num_components * self.min_weight
            logits = (self.min_weight + free * logits.softmax(-1)).log()
        return logits, loc.tanh() if self.bound_mean else loc, scale

    def collapsed(self, scale: Tensor) -> Tensor:
        """Which components ``[*B, K]`` have shrunk to the floor in every dimension: they no longer explore."""
        return (scale <= torch.as_tensor(self.min_scale, dtype=scale.dtype)).all(-1)

    def metrics(self, params: TensorDictBase) -> dict[str, Tensor]:
        """See :meth:`PolicyHead.metrics`.

        Returns:
            ``collapsed_share``: share of the components, over states, at the floor in every dimension.
            ``idle_share``: share of the components whose mean weight is below 0.001.
            ``components``: the exponential of the weights' mean entropy, between 1 and ``K``.
        """
        weight = params.get("logits").softmax(-1).reshape(-1, self.num_components)
        scale = params.get("scale")
        return {
            "collapsed_share": self.collapsed(scale).to(scale.dtype).mean(),
            "idle_share": (weight.mean(0) < _IDLE).to(scale.dtype).mean(),
            "components": torch.special.entr(weight).sum(-1).mean().exp(),
        }

    @property
    def warnings(self) -> dict[str, str]:
        """See :attr:`PolicyHead.warnings`."""
        return {
            "collapsed_share": f"a component has reached min_scale={self.min_scale} in every dimension and no longer "
            "explores; increase min_scale",
            "idle_share": "the weight of a component has collapsed, so it is hardly ever sampled and does not learn; "
            "set min_weight",
        }


class TanhGaussianMixtureHead(GaussianMixtureHead):
    """A mixture of tanh-squashed Gaussians; actions stay inside (-1, 1).

    Args:
        action_size, num_components, spread, min_weight: as of :class:`GaussianMixtureHead`.
        init_scale: standard deviation before squashing, at the start.
        min_scale: its floor.

    Example:
        >>> TanhGaussianMixtureHead(2).distribution_class.__name__
        'TanhGaussianMixture'
    """

    distribution_class = TanhGaussianMixture

    def __init__(
        self,
        action_size: int,
        num_components: int = 8,
        init_scale: float = 1.0,
        min_scale: float = 0.05,
        spread: float = 0.5,
        min_weight: float = 0.0,
    ) -> None:
        super().__init__(action_size, num_components, init_scale, min_scale, False, spread, min_weight)
