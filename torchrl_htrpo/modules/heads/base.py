"""Base class of policy heads."""

from __future__ import annotations

from typing import Any, ClassVar

from tensordict import NestedKey, TensorDictBase
from tensordict.nn import InteractionType, ProbabilisticTensorDictModule
from torch import Tensor, nn

from torchrl_htrpo._errors import count


class PolicyHead(nn.Module):
    """Base class: compute the parameters of :attr:`distribution_class` from ``num_features`` features.

    Subclasses set the class attributes and implement :meth:`forward`; the rest of the library does not depend on the
    distribution. It needs ``sample`` and ``log_prob``, and ``deterministic_sample`` for greedy episodes.

    Args:
        num_features: how many features :meth:`forward` takes.
    """

    distribution_class: ClassVar[type]
    #: The entries that :meth:`forward` writes: the distribution's arguments.
    param_keys: ClassVar[tuple[NestedKey, ...]]

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = count(self, "num_features", num_features)

    @property
    def distribution_kwargs(self) -> dict[str, Any]:
        """Constant keyword arguments of the distribution."""
        return {}

    @property
    def distribution_keys(self) -> dict[str, NestedKey]:
        """Arguments of the distribution and the entries they are read from."""
        return {str(key): key for key in self.param_keys}

    def metrics(self, params: TensorDictBase) -> dict[str, Tensor]:
        """Metrics of the distribution, for a logger; empty by default.

        Args:
            params: ``[*B]`` with :attr:`param_keys`, such as a collected batch.
        """
        return {}

    @property
    def warnings(self) -> dict[str, str]:
        """Warnings for metrics that show a problem when above 0, by the name of the metric."""
        return {}

    def action_module(self, action_key: NestedKey) -> ProbabilisticTensorDictModule:
        """The module that draws the action and writes it with its log-probability.

        Args:
            action_key: where.
        """
        return ProbabilisticTensorDictModule(
            in_keys=self.distribution_keys,
            out_keys=[action_key],
            distribution_class=self.distribution_class,
            distribution_kwargs=self.distribution_kwargs,
            default_interaction_type=InteractionType.RANDOM,
            return_log_prob=True,
        )
