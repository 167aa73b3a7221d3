"""Small batches and policies that many tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import Tensor

from torchrl_htrpo.envs import EqualGoals, GoalTask
from torchrl_htrpo.hindsight import CumulativeGoalRatio, HindsightRelabel
from torchrl_htrpo.modules import (
    CategoricalHead,
    FullCovarianceHead,
    GaussianHead,
    GaussianMixtureHead,
    GoalMemory,
    MaskedCategoricalHead,
    MixedHead,
    MultiCategoricalHead,
    OneHotHead,
    PolicyHead,
    TanhGaussianMixtureHead,
    TanhNormalHead,
    make_actor,
)

HEADS: dict[str, Callable[[], PolicyHead]] = {
    "categorical": lambda: CategoricalHead(4),
    "one_hot": lambda: OneHotHead(4),
    "gaussian": lambda: GaussianHead(2),
    "tanh_normal": lambda: TanhNormalHead(2),
}
# Every family of policies; HEADS are those of a plain action and a closed-form KL.
ALL_HEADS: dict[str, Callable[[], PolicyHead]] = HEADS | {
    "uniform_share": lambda: CategoricalHead(4, uniform_share=0.1),
    "masked": lambda: MaskedCategoricalHead(4),
    "multi_categorical": lambda: MultiCategoricalHead([4, 2, 3]),
    "full_covariance": lambda: FullCovarianceHead(2),
    "mixture": lambda: GaussianMixtureHead(2, 3),
    "tanh_mixture": lambda: TanhGaussianMixtureHead(2, 3),
    # A policy with a memory of the episode; see actor_with.
    "recurrent": lambda: GaussianHead(2),
    "mixed": lambda: MixedHead({"gear": CategoricalHead(3), "push": GaussianMixtureHead(2, 2)}),
}
OBSERVATION, GOAL = 3, 2


def actor_with(
    head: str, dtype: torch.dtype = torch.float64, hidden: Sequence[int] = (6,)
) -> ProbabilisticTensorDictSequential:
    """A small policy whose actions depend on observation and goal."""
    if head == "recurrent":
        memory = GoalMemory(OBSERVATION, GOAL, 4, "lstm")
        keys = ("history", "desired_goal")
        actor = make_actor(ALL_HEADS[head](), memory.size, hidden, encoder=memory, in_keys=keys).to(dtype)
    else:
        actor = make_actor(ALL_HEADS[head](), OBSERVATION + GOAL, hidden).to(dtype)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return actor


def trajectories(
    num: int = 4,
    steps: int = 5,
    *,
    actor: ProbabilisticTensorDictSequential | None = None,
    lengths: Sequence[int] | None = None,
    values: int = 3,
    dtype: torch.dtype = torch.float64,
) -> TensorDict:
    """Consistent trajectories ``[num, steps]`` on a lattice of goals, cut by a time limit; ragged with lengths."""
    achieved = torch.randint(values, (num, steps + 1, GOAL)).to(dtype)
    observation = torch.randn(num, steps + 1, OBSERVATION, dtype=dtype)
    desired = torch.randint(values, (num, 1, GOAL)).to(dtype).expand(num, steps, GOAL).clone()
    ends = torch.tensor([steps] * num if lengths is None else lengths).clamp_min(1) - 1
    truncated = (torch.arange(steps) == ends.unsqueeze(-1)).unsqueeze(-1)
    batch = TensorDict(
        observation=observation[:, :-1].clone(),
        achieved_goal=achieved[:, :-1].clone(),
        desired_goal=desired,
        next=TensorDict(
            observation=observation[:, 1:].clone(),
            achieved_goal=achieved[:, 1:].clone(),
            desired_goal=desired.clone(),
            reward=torch.zeros(num, steps, 1, dtype=dtype),
            terminated=torch.zeros(num, steps, 1, dtype=torch.bool),
            truncated=truncated,
            done=truncated.clone(),
            batch_size=[num, steps],
        ),
        batch_size=[num, steps],
    )
    if actor is not None and "action_mask" in actor.in_keys:
        allowed = torch.rand(num, steps, 4) < 0.6
        batch["action_mask"] = allowed | (torch.arange(4) == torch.randint(4, (num, steps, 1)))
    if actor is not None and "history" in actor.in_keys:
        batch["history"] = histories(observation[:, :-1])
    if lengths is not None:
        batch["collector", "mask"] = torch.arange(steps) < torch.tensor(lengths).unsqueeze(-1)
    if actor is not None:
        with torch.no_grad():
            actor(batch)
    return batch


def histories(observation: Tensor) -> Tensor:
    """Of observations ``[N, T, d]``, those of the episode so far ``[N, T, T, d]``, zeros before."""
    steps = observation.shape[1]
    padded = torch.cat((torch.zeros_like(observation), observation), 1)
    return torch.stack([padded[:, step + 1 : step + 1 + steps] for step in range(steps)], 1)


def lengths_of(batch: TensorDictBase) -> list[int]:
    """Valid steps of each trajectory of a batch ``[N, T]``."""
    mask = batch.get(("collector", "mask"), default=None)
    return [batch.shape[-1]] * len(batch) if mask is None else mask.sum(-1).tolist()


def with_goals(batch: TensorDictBase, goals: Tensor) -> TensorDictBase:
    """Give a batch ``[*B, T]`` hindsight goals ``[G, d]``, as a sampler would."""
    out = batch.copy()
    return out.set(("hindsight", "goal"), goals.expand(*batch.batch_size, *goals.shape))


def bitwise_equal(a: TensorDictBase, b: TensorDictBase) -> bool:
    """Whether two tensordicts hold the same entries, bit for bit."""
    keys = set(a.keys(True, True))
    return keys == set(b.keys(True, True)) and all(torch.equal(a[key], b[key]) for key in keys)


GOALS = torch.tensor([[0.0, 1.0], [2.0, 2.0], [1.0, 1.0]], dtype=torch.float64)


def relabelled(actor: ProbabilisticTensorDictSequential, **kwargs: object) -> TensorDictBase:
    """Trajectories of an actor, relabelled with three goals: ``[3, N, T]``."""
    batch = trajectories(actor=actor, **kwargs)  # type: ignore[arg-type]
    return HindsightRelabel(GoalTask(EqualGoals()))(with_goals(batch, GOALS.to(batch["desired_goal"].dtype)))


def weighted(actor: ProbabilisticTensorDictSequential, **kwargs: object) -> TensorDictBase:
    """A relabelled batch with goal ratios and random advantages."""
    batch = CumulativeGoalRatio(actor)(relabelled(actor, **kwargs))
    return batch.set("advantage", torch.randn(*batch.shape, 1, dtype=batch["action_log_prob"].dtype))


def ravel(vector: TensorDictBase) -> Tensor:
    """A vector in the space of the parameters, flat."""
    return torch.cat([vector[key].reshape(-1) for key in sorted(vector.keys())])


def unravel(flat: Tensor, like: TensorDictBase) -> TensorDict:
    """A flat vector as a tensordict like another, its keys in the same order."""
    keys = sorted(like.keys())
    parts = dict(zip(keys, flat.split([like[key].numel() for key in keys]), strict=True))
    return TensorDict({key: parts[key].reshape(leaf.shape) for key, leaf in like.items()})
