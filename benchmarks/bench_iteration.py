"""Time the phases of an iteration of HTRPO: collect 3200 steps, relabel with 100 goals, step, fit the critic.

The networks and budgets are those of ``task=reach`` with ``preset=fast``; the policy is new.
Phases are timed on the clock of the wall and on that of this process and its threads (CPU seconds), which other users
of the machine disturb less; a figure is the median over iterations, the first one left out.

    python benchmarks/bench_iteration.py [--task push] [--iterations 4] [--threads 2]

Output: a MACHINE line, ``FIGURE name value s``, and ``RATIO name value``: each phase's share of the CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from bench_update import fit_in_minibatches
from push_batch import gaussian_actor, machine, new_critic, stages

from torchrl_htrpo import FetchEnv, RowSampler, TrustRegionObjective, TrustRegionOptimizer
from torchrl_htrpo.batch import weight_share
from torchrl_htrpo.evaluation import collect_episodes
from torchrl_htrpo.modules import GoalNormalizer

GRADIENT_ROWS, CURVATURE_ROWS, CHUNK = 32768, 16384, 8192
Spans = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Run the iterations and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="push")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine(), flush=True)
    spans = iterate(args.task, args.iterations, args.threads)
    cpu = {name: statistics.median(each[1] for each in runs[1:]) for name, runs in spans.items()}
    wall = {name: statistics.median(each[0] for each in runs[1:]) for name, runs in spans.items()}
    for name, seconds in cpu.items():
        print(f"FIGURE {args.task}_{name}_cpu {seconds:.3f} s")
        print(f"FIGURE {args.task}_{name}_wall {wall[name]:.3f} s")
    learning = {name: seconds for name, seconds in cpu.items() if name != "evaluate"}
    print(f"FIGURE {args.task}_iteration_cpu {sum(learning.values()):.3f} s")
    print(f"FIGURE {args.task}_iteration_wall {sum(wall[name] for name in learning):.3f} s")
    for name, seconds in learning.items():
        print(f"RATIO {args.task}_{name}_over_iteration {seconds / sum(learning.values()):.3f}")


def iterate(task: str, iterations: int, threads: int) -> Spans:
    """Times of every phase in every iteration."""
    torch.manual_seed(0)
    env, exam = (FetchEnv(task, 64, num_threads=threads, seed=seed) for seed in (0, 1))
    size = env.observation_spec["observation"].shape[-1]
    normalizer = GoalNormalizer(size, 3)
    actor, critic = (make(size + 3, normalizer) for make in (gaussian_actor, new_critic))
    objective = TrustRegionObjective(actor, critic, chunk_size=CHUNK)
    optimizer = TrustRegionOptimizer(objective.trainable_params, 0.005)
    rows, fewer = RowSampler(GRADIENT_ROWS), RowSampler(CURVATURE_ROWS, priority=weight_share)
    spans: Spans = {}
    for _ in range(iterations):
        with span(spans, "collect"), torch.no_grad():
            batch = env.rollout(50, actor)
        collected = batch
        with torch.no_grad():
            for name, stage in stages(actor, critic, 100, "mean").items():
                with span(spans, name):
                    batch = stage(batch)
        with span(spans, "policy"):
            optimizer.step(objective.problem(rows(batch), fewer(batch)))
        with span(spans, "critic"):
            fit_in_minibatches(actor, critic, batch)
        normalizer.update(collected["observation"], collected["next", "achieved_goal"], collected["desired_goal"])
        with span(spans, "evaluate"):
            collect_episodes(exam, actor, 64, 50)
    return spans


@contextmanager
def span(spans: Spans, name: str) -> Iterator[None]:
    """Time the statements inside."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    spans.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))


if __name__ == "__main__":
    main()
