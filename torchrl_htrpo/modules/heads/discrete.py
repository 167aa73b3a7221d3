"""Heads of discrete actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from tensordict import NestedKey
from torch import Tensor, distributions
from torchrl.modules.distributions import MaskedCategorical, OneHotCategorical

from torchrl_htrpo._errors import count, counts, number, refusal
from torchrl_htrpo.checks import may_wait
from torchrl_htrpo.modules.heads.base import PolicyHead


class _DiscreteHead(PolicyHead):
    def __init__(self, num_features: int, uniform_share: float) -> None:
        number(self, "uniform_share", uniform_share)
        if not 0 <= uniform_share < 1:
            raise ValueError(refusal(self, "uniform_share", "in [0, 1)", uniform_share))
        super().__init__(num_features)
        self.uniform_share = uniform_share

    def _mixed(self, logits: Tensor, options: Tensor) -> Tensor:
        if not self.uniform_share:
            return logits
        chosen = logits.log_softmax(-1) + math.log1p(-self.uniform_share)
        return torch.logaddexp(chosen, math.log(self.uniform_share) - options.to(logits.dtype).log())


class CategoricalHead(_DiscreteHead):
    r"""Categorical policy: one of ``num_actions`` actions, as an index.

    A softmax of the network's outputs :math:`z`, with a share :math:`\epsilon` of the uniform distribution among
    :math:`n` actions:

    .. math:: \pi(a) = (1 - \epsilon)\, \mathrm{softmax}(z)_a + \epsilon / n

    With :math:`\epsilon > 0` every action keeps a positive probability. Hindsight cannot recover an action that no
    trajectory contains. The log-probability of a rare action also stays bounded.

    Args:
        num_actions: how many actions there are.
        uniform_share: :math:`\epsilon`, 0.01 in the authors' code; 0: the softmax alone.

    Raises:
        ValueError: if ``uniform_share`` is outside [0, 1).

    Example:
        >>> CategoricalHead(4)(torch.zeros(2, 4)).shape
        torch.Size([2, 4])
        >>> features = torch.tensor([100.0, 0.0, 0.0, 0.0])
        >>> CategoricalHead(4, uniform_share=0.04)(features).softmax(-1)
        tensor([0.9700, 0.0100, 0.0100, 0.0100])
    """

    distribution_class: ClassVar[type] = distributions.Categorical
    param_keys = ("logits",)

    def __init__(self, num_actions: int, uniform_share: float = 0.0) -> None:
        super().__init__(count(self, "num_actions", num_actions), uniform_share)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[*B, num_actions]``."""
        # Create the tensor on the device: copying a number to an accelerator would synchronise.
        return self._mixed(features, features.new_full((), self.num_features))


class OneHotHead(CategoricalHead):
    """Categorical policy: one of ``num_actions`` actions, as a one-hot vector.

    Example:
        >>> OneHotHead(4).distribution_class.__name__
        'OneHotCategorical'
    """

    distribution_class = OneHotCategorical


class AllowedCategorical(MaskedCategorical):
    """A masked categorical distribution that raises for rows without allowed actions and for forbidden actions.

    Both are checks of values (:func:`~torchrl_htrpo.checks.set_checks`); without them a forbidden action has
    log-probability minus infinity. Rows ``[*B, n]`` whose mask is all false are padding to a log-probability.
    """

    def __init__(self, logits: Tensor, mask: Tensor) -> None:
        super().__init__(logits=logits, mask=mask)

    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Sample allowed actions."""
        if may_wait(self.mask.device) and not self.mask.any(-1).all():
            raise ValueError(refusal("MaskedCategoricalHead", "mask", "true somewhere in every row", "none in a row"))
        return super().sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Score actions ``[*B]``."""
        if may_wait(self.mask.device):
            mask = self.mask.expand(*value.shape, self.mask.shape[-1])
            forbidden = mask.any(-1) & ~mask.gather(-1, value.long().unsqueeze(-1)).squeeze(-1)
            if forbidden.any():
                where = forbidden.nonzero()[0].tolist()
                expected = "true at the action that was taken"
                raise ValueError(refusal("MaskedCategoricalHead", "mask", expected, f"false at row {where}"))
        return super().log_prob(value)


class MaskedCategoricalHead(CategoricalHead):
    """Categorical policy with an action mask, which is an entry of the observation.

    A batch whose mask forbids the action that was taken is refused.

    Args:
        num_actions: how many actions there are.
        mask_key: booleans ``[*B, num_actions]``, true where the action is allowed; at least one must be.
        uniform_share: share of the uniform distribution, before the mask.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl_htrpo.modules import make_actor
        >>> td = TensorDict(observation=torch.zeros(1, 2), desired_goal=torch.zeros(1, 2), batch_size=1)
        >>> td["action_mask"] = torch.tensor([[False, True, False]])
        >>> make_actor(MaskedCategoricalHead(3), 4)(td)["action"]
        tensor([1])
    """

    distribution_class = AllowedCategorical

    def __init__(self, num_actions: int, mask_key: NestedKey = "action_mask", *, uniform_share: float = 0.0) -> None:
        super().__init__(count(self, "num_actions", num_actions), uniform_share)
        self.mask_key = mask_key

    @property
    def distribution_keys(self) -> dict[str, NestedKey]:
        """The logits from the network, the mask from the observation."""
        return {"logits": "logits", "mask": self.mask_key}


class IndependentCategorical(distributions.Independent):
    """Independent categorical distributions of logits ``[*B, choices, options]``: -inf where there is no option."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(distributions.Categorical(logits=logits), 1)


class MultiCategoricalHead(_DiscreteHead):
    """Several independent categorical choices with different numbers of options, as a vector of indices.

    Args:
        num_actions: options of each choice.
        uniform_share: share of the uniform distribution in every choice (:class:`CategoricalHead`).

    Raises:
        ValueError: if there is no choice, or one without options, or ``uniform_share`` is outside [0, 1).

    Example:
        >>> logits = MultiCategoricalHead([3, 2])(torch.zeros(1, 5))
        >>> logits.softmax(-1)[0, 1]
        tensor([0.5000, 0.5000, 0.0000])
    """

    distribution_class = IndependentCategorical
    param_keys = ("logits",)
    absent: Tensor
    place: Tensor

    def __init__(self, num_actions: Sequence[int], uniform_share: float = 0.0) -> None:
        if not (options := counts(self, "num_actions", num_actions)):
            raise ValueError(refusal(self, "num_actions", "the options of each choice", num_actions))
        sizes = torch.as_tensor(options)
        super().__init__(int(sizes.sum()), uniform_share)
        present = torch.arange(int(sizes.max())) < sizes.unsqueeze(-1)
        self.register_buffer("absent", ~present, persistent=False)
        place = (present.flatten().cumsum(0) - 1).clamp_min(0).reshape(present.shape)
        self.register_buffer("place", place, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[*B, choices, most options]``, -inf where a choice has fewer options."""
        logits = features[..., self.place].masked_fill(self.absent, -torch.inf)
        return self._mixed(logits, (~self.absent).sum(-1, keepdim=True)).masked_fill(self.absent, -torch.inf)
