"""One-step value targets within bounds."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.objectives.value import TD0Estimator

from torchrl_htrpo._errors import number, refusal


class BoundedTD0(TD0Estimator):
    r"""TorchRL's TD(0) with its target bounded: :math:`\mathrm{clip}(r + \gamma Q(s', a'), l, h)`.

    A bootstrapped target can leave the range of possible values, and the critic then diverges; HER's authors clip it to
    the range. With rewards in :math:`[r_l, r_h]` the range is :math:`[r_l, r_h] / (1 - \gamma)`.

    Source: `Hindsight Experience Replay <https://arxiv.org/abs/1707.01495>`_, appendix A.
    """

    def __init__(
        self, *, gamma: float, value_network: TensorDictModuleBase | None, low: float, high: float, **kwargs: Any
    ) -> None:
        number(self, "gamma", gamma, 0, 1)
        if not low <= high:  # also refuses NaN
            raise ValueError(refusal(self, "low", f"at most high = {high}", low))
        super().__init__(gamma=gamma, value_network=value_network, **kwargs)
        self.low, self.high = low, high

    def value_estimate(self, tensordict: TensorDictBase, *args: Any, **kwargs: Any) -> Tensor:
        """The bounded target ``[*B, 1]``; see ``TD0Estimator``."""
        return super().value_estimate(tensordict, *args, **kwargs).clamp(self.low, self.high)
