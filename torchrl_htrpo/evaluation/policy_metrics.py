"""Metrics of a policy's distribution during training."""

from __future__ import annotations

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl import torchrl_logger

from torchrl_htrpo.batch.mask import validity
from torchrl_htrpo.modules.heads.base import PolicyHead


class PolicyMetrics:
    """Compute the metrics of a policy's head, and warn once for each that shows a problem.

    The head defines the metrics (:meth:`~torchrl_htrpo.modules.PolicyHead.metrics`): a mixture reports components whose
    scale or weight has collapsed. A policy without a head of this library has no metrics.

    Args:
        actor: the policy.

    Example:
        >>> from torchrl_htrpo.envs import DetourEnv
        >>> from torchrl_htrpo.modules import GaussianMixtureHead, make_actor
        >>> actor = make_actor(GaussianMixtureHead(2, num_components=3), 4)
        >>> figures = PolicyMetrics(actor)(DetourEnv(2).rollout(5, actor))
        >>> figures["policy/collapsed_share"], round(figures["policy/components"], 1)
        (0.0, 3.0)
    """

    def __init__(self, actor: TensorDictModuleBase) -> None:
        # The outermost head: a MixedHead reports the metrics of its parts.
        self.head = next((module for module in actor.modules() if isinstance(module, PolicyHead)), None)
        self.warned: set[str] = set()

    def __call__(self, batch: TensorDictBase) -> dict[str, float]:
        """Compute the metrics of a batch that the policy collected.

        Args:
            batch: ``[*B]`` with what the actor wrote; steps outside a ``("collector", "mask")`` do not count.

        Returns:
            Figures by name, below ``policy/``.
        """
        if self.head is None:
            return {}
        rows = batch.select(*self.head.param_keys)[validity(batch)]
        figures = {name: figure.item() for name, figure in self.head.metrics(rows).items()}
        for name, text in self.head.warnings.items():
            if figures[name] > 0 and name not in self.warned:
                self.warned.add(name)
                torchrl_logger.warning(f"{type(self.head).__name__}: {text} (policy/{name} = {figures[name]:.3g})")
        return {f"policy/{name}": figure for name, figure in figures.items()}
