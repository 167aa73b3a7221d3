"""First-order steps on a trust-region problem (hindsight policy gradient)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo.optim.problem import TrustRegionProblem
from torchrl_htrpo.optim.step_result import StepResult, StepStatus
from torchrl_htrpo.optim.vectors import axpy, dot

OptimizerFn = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


class FirstOrderOptimizer:
    r"""Maximise the surrogate with a torch optimizer; report the divergence, but do not bound it.

    At the old policy the gradient of the surrogate is :math:`\sum_m c_m A_m \nabla \log\pi(a|s,g')`: on a relabelled,
    weighted batch this is the hindsight policy gradient (HPG, eq. 3 with hindsight goals).

    Args:
        params: the parameters, updated in place (``objective.trainable_params``).
        optimizer: makes the torch optimizer from the parameters.

    Example:
        >>> from functools import partial
        >>> from tensordict import TensorDict
        >>> params = TensorDict(x=torch.zeros(2))
        >>> problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].square().sum() / 2)])
        >>> FirstOrderOptimizer(params, partial(torch.optim.SGD, lr=0.5)).step(problem).gain
        1.0

    Source: `Hindsight policy gradients <https://arxiv.org/abs/1711.06006>`_.
    """

    def __init__(self, params: TensorDictBase, optimizer: OptimizerFn) -> None:
        self.params = params
        self.optimizer = optimizer(list(params.values(True, True)))

    def state_dict(self) -> dict[str, Any]:
        """State of the torch optimizer."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the torch optimizer."""
        self.optimizer.load_state_dict(state)

    def step(self, problem: TrustRegionProblem) -> StepResult:
        """Take one step; see :meth:`TrustRegionOptimizer.step`."""
        if problem.empty:
            return StepResult(StepStatus.NO_ROWS)
        before = self.params.data.clone()
        surrogate, divergence, gradient = problem.value_and_gradient(before)
        squared = dot(gradient, gradient).item()
        if not math.isfinite(squared) or not math.isfinite(surrogate):
            return StepResult(StepStatus.NON_FINITE)
        if squared == 0.0:
            return StepResult(StepStatus.ZERO_GRADIENT)
        for key in gradient.keys(True, True):
            self.params.get(key).grad = -gradient.get(key)
        self.optimizer.step()
        change = axpy(-1.0, before, self.params.data)
        value, divergence_after = problem.values(self.params.data)
        if not (math.isfinite(value) and math.isfinite(divergence_after)):
            self.params.data.update_(before)
            return StepResult(StepStatus.NON_FINITE)
        return StepResult(
            StepStatus.ACCEPTED,
            expected_gain=dot(gradient, change).item(),
            gain=value - surrogate,
            divergence_before=divergence,
            divergence=divergence_after,
            step_fraction=1.0,
            step_norm=dot(change, change).sqrt().item(),
            trials=1,
        )
