"""Peak memory of an iteration under more and more goals, all at once and in blocks of goals.

A batch of FetchReach (64 trajectories of 50 steps) is relabelled under G hindsight goals, weighted, and trained on:
16 k rows for the gradient, 8 k for the curvature, 10 minibatches of the critic. Every figure comes from a process of
its own: its largest resident set, and what an iteration adds to it.

    python benchmarks/bench_memory.py [--goals 100 400 1600] [--block 50] [--worlds 64]

Output: a MACHINE line, ``FIGURE name value unit`` and ``RATIO name value``. RATIO peak_blocks_1600_over_100 1.1 means
that in blocks of goals the process needs 1.1 times as much memory under 1600 goals as under 100.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time

import torch
from push_batch import everywhere, machine

from torchrl_htrpo import (
    FetchEnv,
    GoalTask,
    HGFGoalSampler,
    HTRPOTrainer,
    WithinDistance,
    hindsight_pipeline,
    make_actor,
    make_critic,
)
from torchrl_htrpo.modules import GaussianHead


def main() -> None:
    """Measure every number of goals and print the lines."""
    args = parse()
    torch.set_num_threads(1)
    if args.child:
        return print(json.dumps(measure(args.child, args.block, args.worlds)))
    print(machine(), flush=True)
    for name, block in (("whole", 0), ("blocks", args.block)):
        found = {goals: spawn(args, goals, block) for goals in args.goals}
        for goals, figures in found.items():
            print(f"FIGURE peak_{name}_{goals} {figures['peak']:.0f} MiB")
            print(f"FIGURE added_{name}_{goals} {figures['added']:.0f} MiB")
            print(f"FIGURE cpu_{name}_{goals} {figures['cpu']:.2f} s", flush=True)
        first, *_, last = args.goals
        print(f"RATIO peak_{name}_{last}_over_{first} {found[last]['peak'] / found[first]['peak']:.2f}", flush=True)
    return None


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goals", type=int, nargs="*", default=[100, 400, 1600])
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def spawn(args: argparse.Namespace, goals: int, block: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--child", str(goals), "--block", str(block), "--worlds", str(args.worlds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(goals: int, block: int, worlds: int) -> dict[str, float]:
    """One iteration: peak memory and CPU seconds."""
    torch.manual_seed(0)
    env, task = FetchEnv("reach", worlds, num_threads=1, seed=0), GoalTask(WithinDistance(0.05), "sparse", 10.0)
    size = env.observation_spec["observation"].shape[-1] + 3
    actor, critic = make_actor(GaussianHead(4), size, (64, 64)), make_critic(size, (64, 64))
    sampler = HGFGoalSampler(goals, region=everywhere)
    blocks = {"goal_block": block} if block else {}
    pipeline = hindsight_pipeline(actor, critic, task, goals=sampler, chunk_size=4096, **blocks)
    budget = {"gradient_rows": 16384, "curvature_rows": 8192, "critic_updates": 10, "critic_batch_size": 4096}
    with tempfile.TemporaryDirectory() as folder:
        trainer = HTRPOTrainer(
            env, actor, critic, task, horizon=50, pipeline=pipeline, total_steps=10**6, directory=folder, **budget
        )
        batch = next(iter(trainer.collector))
        before, start = peak(), time.process_time()
        trainer.update(batch)
        return {"peak": peak(), "added": peak() - before, "cpu": time.process_time() - start}


def peak() -> float:
    """Largest resident set of this process so far [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
