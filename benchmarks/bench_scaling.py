"""Measure how the cost of an iteration grows with goals, rows, bits and worlds.

CPU seconds of this process on one thread, which other users of the machine disturb less than wall-clock, the best of
several. Relabelling is everything from collected trajectories to weighted rows with advantages. Budgeted updates draw
32 k rows for the gradient and 16 k for the curvature, exact ones take all.

    python benchmarks/bench_scaling.py [--goals 10 50 100 200 400] [--bits 8 16 32 64 100] [--worlds 1 16 64 256]

Output: a MACHINE line, ``FIGURE name value unit``, and ``RATIO name value``: the last size's cost over the first's.
RATIO relabel_per_row_goals_400_over_10 1 means that a relabelled row costs the same under 400 goals as under 10.
"""

from __future__ import annotations

import argparse
import functools
import gc
import time
from collections.abc import Callable, Iterator

import torch
from bench_update import CURVATURE_ROWS, GRADIENT_ROWS, paper_optimizer
from push_batch import Collected, collect, machine, relabel
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torchrl.envs import Compose

from torchrl_htrpo import (
    AllGoalSampler,
    BitFlipEnv,
    CumulativeGoalRatio,
    EqualGoals,
    FetchEnv,
    GoalTask,
    GoalVTrace,
    HindsightRelabel,
    RowSampler,
    StateValue,
    TrustRegionObjective,
    make_actor,
    make_critic,
)
from torchrl_htrpo.batch import weight_share
from torchrl_htrpo.modules import CategoricalHead

CHUNK = 4096
Costs = dict[str, dict[int, float]]


def main() -> None:
    """Measure every axis and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goals", type=int, nargs="*", default=[10, 50, 100, 200, 400])
    parser.add_argument("--rows", type=int, nargs="*", default=[4096, 16384, 65536])
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 16, 32, 64, 100])
    parser.add_argument("--worlds", type=int, nargs="*", default=[1, 16, 64, 256])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(), flush=True)
    collected = collect()
    axes = {
        "goals": lambda: against_goals(collected, args.goals),
        "rows": lambda: against_rows(collected, args.rows),
        "bits": lambda: against_bits(args.bits),
        "worlds": lambda: against_worlds(args.worlds),
    }
    for axis, measure in axes.items():
        for line in report(axis, measure()):
            print(line, flush=True)


def against_goals(collected: Collected, sizes: list[int]) -> Costs:
    """FetchPush: relabelling and a budgeted update, by the number of hindsight goals."""
    costs: Costs = {"live_rows": {}, "relabel": {}, "relabel_per_row": {}, "budgeted_update": {}}
    for size in sizes:
        found = functools.partial(relabel, collected, size)
        relabelling(costs, size, found, collected[1])
    return costs


def against_bits(sizes: list[int]) -> Costs:
    """Bit Flipping: the same by the number of bits, with all goals achieved in 16 episodes."""
    costs: Costs = {"live_rows": {}, "relabel": {}, "relabel_per_row": {}, "budgeted_update": {}}
    for bits in sizes:
        torch.manual_seed(0)
        env, actor, critic = BitFlipEnv(bits, 16), make_actor(CategoricalHead(bits), 2 * bits), make_critic(2 * bits)
        with torch.no_grad():
            batch = env.rollout(bits, actor)
        pipeline = Compose(
            AllGoalSampler(),
            HindsightRelabel(GoalTask(EqualGoals(), "paper_code")),
            CumulativeGoalRatio(actor, normalization="paper", chunk_size=CHUNK),
            StateValue(critic, chunk_size=CHUNK),
            GoalVTrace(0.98, 0.95),
        )
        relabelling(costs, bits, functools.partial(pipeline, batch), actor)
    return costs


def relabelling(
    costs: Costs, size: int, fn: Callable[[], TensorDictBase], actor: ProbabilisticTensorDictSequential
) -> None:
    """One size: relabel, and step on the result."""
    seconds, batch = best(fn, 1)
    live = int(batch["collector", "mask"].sum())
    costs["live_rows"][size], costs["relabel"][size] = float(live), seconds
    costs["relabel_per_row"][size] = seconds / live
    costs["budgeted_update"][size] = best(step_on(actor, batch, GRADIENT_ROWS, CURVATURE_ROWS))[0]
    gc.collect()


def against_rows(collected: Collected, sizes: list[int]) -> Costs:
    """FetchPush: a step by the number of rows, half as many for the curvature."""
    _, actor, _ = collected
    batch = relabel(collected)
    costs = {size: best(step_on(actor, batch, size, size // 2))[0] for size in sizes}
    return {"update": costs, "update_per_row": {size: seconds / size for size, seconds in costs.items()}}


def against_worlds(sizes: list[int]) -> Costs:
    """FetchPush: an environment step with random actions by the number of worlds, on one thread."""
    costs = {}
    for worlds in sizes:
        env = FetchEnv("push", worlds, num_threads=1, seed=0)
        seconds, _ = best(functools.partial(env.rollout, 20))
        costs[worlds] = seconds / (20 * worlds)
        env.close()
    return {"env_step": costs}


def step_on(
    actor: ProbabilisticTensorDictSequential, batch: TensorDictBase, gradient: int, curvature: int
) -> Callable[[], None]:
    """A step that leaves the parameters as they were."""
    objective = TrustRegionObjective(actor, chunk_size=CHUNK)
    optimizer = paper_optimizer(objective, 1 << 30)
    before = objective.trainable_params.data.clone()

    def update() -> None:
        rows, fewer = RowSampler(gradient)(batch), RowSampler(curvature, priority=weight_share)(batch)
        optimizer.step(objective.problem(rows, fewer))
        objective.trainable_params.data.update_(before)

    return update


def best(fn: Callable[[], object], repeats: int = 2) -> tuple[float, object]:
    """The least CPU seconds of several calls, and the last result; the first call with fresh memory counts too."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = fn()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def report(axis: str, costs: Costs) -> Iterator[str]:
    """The lines of an axis."""
    for name, each in costs.items():
        unit = "rows" if name == "live_rows" else "s"
        for size, value in each.items():
            yield f"FIGURE {name}_{axis}_{size} {value:.4g} {unit}"
        if len(each) > 1:
            first, *_, last = each
            yield f"RATIO {name}_{axis}_{last}_over_{first} {each[last] / each[first]:.4g}"


if __name__ == "__main__":
    main()
