"""What a problem comes to at some parameters, summed over its chunks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo.problem import TermFn, TrustRegionProblem


@torch.no_grad()
def values(problem: TrustRegionProblem, params: TensorDictBase) -> tuple[float, float]:
    """The surrogate and the divergence of a problem.

    Args:
        problem: the problem.
        params: where.

    Returns:
        Both, as floats; NaN where a distribution refuses its parameters.

    Example:
        >>> from tensordict import TensorDict
        >>> problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].square().sum() / 2)])
        >>> values(problem, TensorDict(x=torch.ones(2)))
        (2.0, 1.0)
    """
    try:
        pairs = [torch.stack(term(params)) for term in problem.terms]
    except ValueError:
        # A distribution refuses its parameters. It took those before the step: this trial went too far.
        return math.nan, math.nan
    surrogate, divergence = torch.stack(pairs).sum(0, dtype=torch.float64).tolist()
    return surrogate, divergence


def value_and_gradient(problem: TrustRegionProblem, params: TensorDictBase) -> tuple[float, float, TensorDictBase]:
    """The surrogate, the divergence, and the gradient of the surrogate.

    Args:
        problem: the problem, with at least one term.
        params: where.

    Returns:
        All three.

    Example:
        >>> from tensordict import TensorDict
        >>> problem = TrustRegionProblem(terms=[lambda p: (p["x"].sum(), p["x"].square().sum() / 2)])
        >>> value_and_gradient(problem, TensorDict(x=torch.ones(2)))[2]["x"]
        tensor([1., 1.])
    """
    pairs: list[Tensor] = []
    total = None
    for term in problem.terms:
        gradient, (surrogate, divergence) = torch.func.grad(_surrogate_first(term), has_aux=True)(params)
        pairs.append(torch.stack((surrogate, divergence)))
        total = gradient if total is None else total.add_(gradient)
    surrogate, divergence = torch.stack(pairs).sum(0, dtype=torch.float64).tolist()
    return surrogate, divergence, total


def _surrogate_first(term: TermFn) -> Callable[[TensorDictBase], tuple[Tensor, tuple[Tensor, Tensor]]]:
    def value(params: TensorDictBase) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        surrogate, divergence = term(params)
        return surrogate, (surrogate.detach(), divergence.detach())

    return value
