"""The batch that benchmarks of the update share: FetchPush under an untrained policy, relabelled."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import Tensor
from torchrl.modules import ValueOperator

from torchrl_htrpo import (
    CumulativeGoalRatio,
    FetchEnv,
    GoalTask,
    GoalVTrace,
    HGFGoalSampler,
    HindsightRelabel,
    StateValue,
    WithinDistance,
    make_actor,
    make_critic,
)
from torchrl_htrpo.modules import GaussianHead, GoalNormalizer
from torchrl_htrpo.records import provenance

Collected = tuple[TensorDictBase, ProbabilisticTensorDictSequential, ValueOperator]
ROW_KEYS = (
    "observation", "desired_goal", "action", "action_log_prob", "original_log_prob", "importance_weight", "advantage",
    "value_target",     ("collector", "mask"), ("next", "terminated"), ("next", "done"),
)  # fmt: skip


@torch.no_grad()
def collect(task: str = "push", worlds: int = 64, steps: int = 50, *, seed: int = 0) -> Collected:
    """Trajectories ``[worlds, steps]`` of an untrained policy, the policy (3 x 256) and the critic."""
    torch.manual_seed(seed)
    env = FetchEnv(task, worlds, seed=seed)
    size = env.observation_spec["observation"].shape[-1]
    normalizer = GoalNormalizer(size, 3)
    actor, critic = (make(size + 3, normalizer) for make in (gaussian_actor, new_critic))
    random = env.rollout(steps)
    normalizer.update(random["observation"], random["achieved_goal"], random["desired_goal"])
    return env.rollout(steps, actor), actor, critic


def gaussian_actor(size: int, normalizer: GoalNormalizer) -> ProbabilisticTensorDictSequential:
    """The policy of Table 3."""
    return make_actor(GaussianHead(4), size, encoder=normalizer)


def new_critic(size: int, normalizer: GoalNormalizer) -> ValueOperator:
    """The critic of Table 3."""
    return make_critic(size, encoder=normalizer)


@torch.no_grad()
def relabel(collected: Collected, num_goals: int = 100, normalization: str = "paper") -> TensorDictBase:
    """The batch under hindsight goals ``[num_goals, worlds, steps]``, with weights and advantages.

    Goals may lie anywhere: in the box of the desired goals an untrained policy achieves fewer than 100.
    """
    batch, actor, critic = collected
    for stage in stages(actor, critic, num_goals, normalization).values():
        batch = stage(batch)
    return batch.select(*ROW_KEYS)


def stages(
    actor: ProbabilisticTensorDictSequential, critic: ValueOperator, num_goals: int, normalization: str = "paper"
) -> dict[str, Callable[[TensorDictBase], TensorDictBase]]:
    """From collected trajectories to weighted rows with advantages."""
    return {
        "hgf": HGFGoalSampler(num_goals, region=everywhere),
        "relabel": HindsightRelabel(GoalTask(WithinDistance(0.05), "sparse", 10.0)),
        "ratio": CumulativeGoalRatio(
            actor, normalization=normalization, chunk_size=4096 if _on_cpu(actor) else 1 << 20
        ),
        "values": StateValue(critic, chunk_size=4096 if _on_cpu(actor) else 1 << 20),
        "vtrace": GoalVTrace(0.98, 0.95),
    }


def _on_cpu(actor: ProbabilisticTensorDictSequential) -> bool:
    return next(actor.parameters()).device.type == "cpu"


def everywhere(candidates: Tensor, originals: Tensor) -> Tensor:
    """A region without bounds."""
    return torch.ones_like(candidates[..., 0], dtype=torch.bool)


def machine() -> str:
    """Describe machine, versions and date in one line."""
    here = provenance.machine()
    gpu = "" if here["gpu"] == "none" else f", {here['gpu']}"
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    cores = f"{here['usable_cores']} cores, {here['torch_threads']} threads"
    return f"MACHINE {here['processor']}{gpu}, {cores}, {versions}, {time.strftime('%Y-%m-%d')}"


def gemm_rate(
    rows: int = 8192,
    repeats: int = 9,
    device: str | torch.device = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """FLOP/s of a 256 x 256 linear layer on ``rows`` rows, the best of several: an upper bound for the update."""
    x, weight = torch.randn(rows, 256, device=device), torch.randn(256, 256, device=device)
    out = torch.empty(rows, 256, device=device)
    best = 0.0
    for _ in range(repeats):
        synchronize(device)
        start = clock()
        for _ in range(4):
            torch.mm(x, weight, out=out)
        synchronize(device)
        best = max(best, 8 * rows * 256 * 256 / (clock() - start))
    return best


def say(*words: object) -> None:
    """Print a line without buffering."""
    print(*words, flush=True)


def synchronize(device: str | torch.device) -> None:
    """Wait for an accelerator."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
