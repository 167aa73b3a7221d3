"""What a problem comes to at some parameters, summed over its chunks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo.optim.problem import TermFn, TrustRegionProblem


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
        pairs = [torch.full((2,), math.nan, device=_device(params))]
    return _total(problem, pairs, params)


def value_and_gradient(problem: TrustRegionProblem, params: TensorDictBase) -> tuple[float, float, TensorDictBase]:
    """The surrogate, the divergence, and the gradient of the surrogate.

    Args:
        problem: the problem.
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
    total = params.apply(torch.zeros_like)
    for term in problem.terms:
        gradient, (surrogate, divergence) = torch.func.grad(_surrogate_first(term), has_aux=True)(params)
        pairs.append(torch.stack((surrogate, divergence)))
        total.add_(gradient)
    problem.all_reduce_(*total.values(True, True))
    return *_total(problem, pairs, params), total


def _surrogate_first(term: TermFn) -> Callable[[TensorDictBase], tuple[Tensor, tuple[Tensor, Tensor]]]:
    def value(params: TensorDictBase) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        surrogate, divergence = term(params)
        return surrogate, (surrogate.detach(), divergence.detach())

    return value


def _total(problem: TrustRegionProblem, pairs: list[Tensor], params: TensorDictBase) -> tuple[float, float]:
    total = torch.zeros(2, dtype=torch.float64, device=_device(params))
    if pairs:
        total += torch.stack(pairs).sum(0, dtype=torch.float64)
    problem.all_reduce_(total)
    surrogate, divergence = total.tolist()
    return surrogate, divergence


def _device(params: TensorDictBase) -> torch.device:
    return next(iter(params.values(True, True))).device
