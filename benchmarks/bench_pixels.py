"""Measure the time saved by encoding each picture once, not once for every goal: Ms. Pac-Man from pixels.

The batch is Ms. Pac-Man as an untrained policy meets it, ragged episodes under hindsight goals, networks of the paper
(F.1). "own" gives every relabelled row a picture of its own, 512 rows at a time; "shared" looks at each state once
(``ShareStates``). Both come to the same numbers, which is checked. A figure is the median over rounds, CPU seconds of
the process, one thread.

    python benchmarks/bench_pixels.py [--steps 312] [--goals 16] [--rounds 5]

Output: a MACHINE line, ``FIGURE name value unit`` and ``RATIO name value`` (own over shared).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from push_batch import machine
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import nn
from torchrl.collectors import Collector
from torchrl.collectors.utils import split_trajectories
from torchrl.modules import ConvNet

from torchrl_htrpo import (
    CumulativeGoalRatio,
    EqualGoals,
    HGFGoalSampler,
    HindsightRelabel,
    RowSampler,
    TrustRegionObjective,
    make_actor,
    make_goal_env,
)
from torchrl_htrpo.envs import GoalTask
from torchrl_htrpo.hindsight import ShareStates
from torchrl_htrpo.modules import CategoricalHead, PixelGoalEncoder, orthogonal_
from torchrl_htrpo.optim import curvature_operator

OWN_ROWS, SHARED_ROWS = 512, 8192


def main() -> None:
    """Measure both variants and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 312), ("goals", 16), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(machine())
    trunk = ConvNet(4, num_cells=[8, 16, 16], kernel_sizes=[8, 4, 3], strides=[4, 2, 2], activation_class=nn.ReLU)
    encoder = PixelGoalEncoder(orthogonal_(trunk, last_gain=2**0.5), (4, 84, 84), 2)
    actor = make_actor(CategoricalHead(4), encoder.num_features, (32, 32, 32), encoder=encoder)
    batch = collect(actor, given.steps)
    figures: dict[str, list[float]] = {}
    gradients = {}
    for way, chunk in (("own", OWN_ROWS), ("shared", SHARED_ROWS)):
        states = ShareStates(actor)(batch) if way == "shared" else batch
        rows = relabel(actor, states, given.goals, chunk)
        objective = TrustRegionObjective(actor, chunk_size=chunk)
        at, problem = objective.trainable_params.data, objective.problem(rows)
        gradients[way] = problem.value_and_gradient(at)[2]
        work: dict[str, Callable[[], object]] = {
            "log_probs": lambda states=states, chunk=chunk: relabel(actor, states, given.goals, chunk),
            "gradient": lambda problem=problem, at=at: problem.value_and_gradient(at),
        }
        figures |= {f"{name}_{way}": [seconds(do) for _ in range(given.rounds)] for name, do in work.items()}
        operator, vector = curvature_operator(problem, at), gradients[way]
        figures[f"product_{way}"] = [seconds(lambda o=operator, v=vector: o @ v) for _ in range(given.rounds)]
    torch.testing.assert_close(gradients["shared"], gradients["own"], rtol=1e-3, atol=1e-6)
    print(f"FIGURE live_rows {len(rows)} rows\nFIGURE states {len(encoder.states)} states")
    for name, times in figures.items():
        print(f"FIGURE {name} {statistics.median(times):.3f} s")
    for name in ("log_probs", "gradient", "product"):
        own, shared = (statistics.median(figures[f"{name}_{way}"]) for way in ("own", "shared"))
        print(f"RATIO {name}_own_vs_shared {own / shared:.1f}")


def collect(actor: ProbabilisticTensorDictSequential, steps: int) -> TensorDictBase:
    """Ragged episodes of an untrained policy."""
    env = make_goal_env("ms_pacman", 12, seed=0)
    collector = Collector(env, actor, frames_per_batch=steps, total_frames=steps, auto_register_policy_transforms=False)
    batch = split_trajectories(next(iter(collector)))
    collector.shutdown()
    return batch


def relabel(actor: ProbabilisticTensorDictSequential, batch: TensorDictBase, goals: int, chunk: int) -> TensorDictBase:
    """Relabelled and weighted live rows, with the same advantages in both variants."""
    sampler = HGFGoalSampler(goals, generator=torch.Generator().manual_seed(0))
    weighted = CumulativeGoalRatio(actor, chunk_size=chunk)(HindsightRelabel(GoalTask(EqualGoals()))(sampler(batch)))
    advantage = torch.randn(*weighted.shape, 1, generator=torch.Generator().manual_seed(1))
    return RowSampler()(weighted.exclude("next").set("advantage", advantage))


def seconds(do: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    do()
    return time.process_time() - start


if __name__ == "__main__":
    main()
