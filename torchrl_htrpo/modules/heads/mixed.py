"""A head for actions with several parts, each with its own head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tensordict import NestedKey, TensorDict, TensorDictBase, unravel_key
from tensordict.nn import (
    CompositeDistribution,
    InteractionType,
    ProbabilisticTensorDictModule,
    set_composite_lp_aggregate,
)
from torch import Tensor, nn
from torch.distributions import Distribution

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.modules.heads.base import PolicyHead


class JointActionModule(ProbabilisticTensorDictModule):
    """Sample the parts of an action and write their joint log-probability, regardless of ``composite_lp_aggregate``.

    TensorDict's own module depends on a global setting, and raises if that has changed since the module was created.
    """

    def __init__(self, *, log_prob_key: NestedKey, **kwargs: Any) -> None:
        with set_composite_lp_aggregate(True):
            super().__init__(log_prob_key=log_prob_key, return_log_prob=True, **kwargs)
        self.joint_key = log_prob_key

    @property
    def log_prob_key(self) -> NestedKey:
        """Key of the log-probability."""
        return self.joint_key

    @property
    def log_prob_keys(self) -> list[NestedKey]:
        """Key of the log-probability, as a list."""
        return [self.joint_key]

    @property
    def out_keys(self) -> list[NestedKey]:
        """Keys of the parts of the action and of their joint log-probability."""
        return [*self.dist_sample_keys, self.joint_key]

    def forward(
        self, tensordict: TensorDictBase, tensordict_out: TensorDictBase | None = None, **kwargs: Any
    ) -> TensorDictBase:
        """Write the action and its log-probability."""
        with set_composite_lp_aggregate(True):
            drawn = super().forward(tensordict.copy(), **kwargs)
        out = tensordict if tensordict_out is None else tensordict_out
        return out.update(drawn.select(*self.out_keys))

    def log_prob(self, tensordict: TensorDictBase, *, dist: Distribution | None = None) -> Tensor:
        """Compute the joint log-probability ``[*B]`` of the action in a tensordict."""
        with set_composite_lp_aggregate(True):
            return super().log_prob(tensordict.copy(), dist=dist)


class MixedHead(PolicyHead):
    """An action with named parts, such as a discrete gear and a continuous push, independent given the state.

    The parts are written under the action's key (``("action", "gear")``, ``("action", "push")``), with one
    log-probability, the sum of theirs.

    Args:
        heads: the head of each part. They share the network, each reads its own features.

    Raises:
        ValueError: if there is no part, or a part reads more than the network's features (a mask), or is itself mixed.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from torchrl_htrpo.modules import CategoricalHead, GaussianHead, make_actor
        >>> actor = make_actor(MixedHead({"gear": CategoricalHead(3), "push": GaussianHead(1)}), 4)
        >>> out = actor(TensorDict(observation=torch.zeros(5, 2), desired_goal=torch.zeros(5, 2), batch_size=[5]))
        >>> out["action", "gear"].shape, out["action", "push"].shape, out["action_log_prob"].shape
        (torch.Size([5]), torch.Size([5, 1]), torch.Size([5]))
    """

    distribution_class = CompositeDistribution
    param_keys = ("params",)

    def __init__(self, heads: Mapping[str, PolicyHead]) -> None:
        foreign = [name for name, head in heads.items() if isinstance(head, MixedHead) or _reads_more(head)]
        if not heads or foreign:
            raise ValueError(refusal(self, "heads", "heads that read features only", foreign or dict(heads)))
        super().__init__(sum(head.num_features for head in heads.values()))
        self.heads = nn.ModuleDict(heads)

    @classmethod
    def of_sizes(cls, sizes: Mapping[str, Any], heads: Mapping[str, Callable[[Any], PolicyHead]]) -> MixedHead:
        """Create the head of each part from its size, as :func:`~torchrl_htrpo.modules.action_features` returns it.

        Args:
            sizes: options or dimensions of each part.
            heads: class of the head of each part, by its name; those of parts that the action lacks are left out.

        Raises:
            ValueError: if the action has no parts, or one without a head.

        Example:
            >>> from torchrl_htrpo.modules import CategoricalHead, GaussianHead
            >>> MixedHead.of_sizes({"gear": 3, "push": 1}, {"gear": CategoricalHead, "push": GaussianHead}).num_features
            4
        """
        if not isinstance(sizes, Mapping):
            raise ValueError(refusal(cls.__name__, "sizes", "those of an action in named parts", sizes))
        if not set(sizes) <= set(heads):
            raise ValueError(refusal(cls.__name__, "heads", f"heads of {sorted(sizes)}", sorted(heads)))
        return cls({name: heads[name](size) for name, size in sizes.items()})

    @property
    def distribution_kwargs(self) -> dict[str, Any]:
        """The distribution of each part, and its constant arguments."""
        heads: dict[str, Any] = dict(self.heads.items())
        return {
            "distribution_map": {name: head.distribution_class for name, head in heads.items()},
            "extra_kwargs": {name: head.distribution_kwargs for name, head in heads.items()},
        }

    def action_module(self, action_key: NestedKey) -> ProbabilisticTensorDictModule:
        """See :meth:`PolicyHead.action_module`."""
        names = {name: unravel_key((action_key, name)) for name in self.heads}
        *above, last = (action_key,) if isinstance(action_key, str) else action_key
        return JointActionModule(
            in_keys=self.distribution_keys,
            out_keys=list(names.values()),
            log_prob_key=unravel_key((*above, f"{last}_log_prob")),
            distribution_class=self.distribution_class,
            distribution_kwargs=self.distribution_kwargs | {"name_map": names},
            default_interaction_type=InteractionType.RANDOM,
        )

    def metrics(self, params: TensorDictBase) -> dict[str, Tensor]:
        """The figures of each part, below its name."""
        parts: dict[str, Any] = dict(self.heads.items())
        return {
            f"{part}/{name}": figure
            for part, head in parts.items()
            for name, figure in head.metrics(params.get(("params", part))).items()
        }

    @property
    def warnings(self) -> dict[str, str]:
        """The warnings of each part, below its name."""
        parts: dict[str, Any] = dict(self.heads.items())
        return {f"{part}/{name}": text for part, head in parts.items() for name, text in head.warnings.items()}

    def forward(self, features: Tensor) -> TensorDict:
        """The parameters of each part, under its name in the entry ``params``."""
        sizes = [head.num_features for head in self.heads.values()]
        found: dict[str, TensorDict] = {}
        for (name, head), part in zip(self.heads.items(), features.split(sizes, -1), strict=True):
            written = head(part)
            written = (written,) if isinstance(written, Tensor) else written
            found[name] = TensorDict(dict(zip(head.param_keys, written, strict=True)), batch_size=features.shape[:-1])  # type: ignore[arg-type]
        return TensorDict(params=TensorDict(found, features.shape[:-1]), batch_size=features.shape[:-1])


def _reads_more(head: PolicyHead) -> bool:
    return set(head.distribution_keys.values()) != set(head.param_keys)
