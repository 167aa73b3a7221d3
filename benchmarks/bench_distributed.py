"""What an iteration sends between processes, what that costs here, and what a cost model says of many GPUs.

Runs iterations of HTRPO in 1, 2 and 4 processes (gloo, one thread each): the same batch divided (strong scaling) and
the same batch for each (weak scaling), all of it several times over in turns; figures are medians. Steps are tiny, so
every iteration is that of an untrained policy. CPU seconds of a process are those of all its threads, without waiting:
processes share cores here. Wall seconds are given beside them, and count only on an idle machine with a core for each.

Counts every message and its bytes, and compares them with a formula. Fits the latency and the bandwidth of a message to
single messages of 2 and 4 processes, and compares what the fit gives for all messages of an iteration with what they
took. Then predicts the efficiency of weak scaling on GPUs, from given latencies and bandwidths.

The model: an all-reduce of b bytes over P processes takes 2 log2(P) latencies and 2 b (P - 1) / P / bandwidth, a
gathering of b bytes from each (P - 1) b / bandwidth and log2(P) latencies. Messages of machines of 8 GPUs go over
NVLink inside, then over the network between machines. Efficiency is compute / (compute + messages).

    python benchmarks/bench_distributed.py [--rounds 3] [--seconds 0.5 0.05] [--nvlink 300] [--network 50 1.25]

Output: a MACHINE line, ``FIGURE name value unit``, and ``RATIO name value``.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean, median
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from push_batch import machine
from torch import Tensor
from torch.multiprocessing import spawn

from torchrl_htrpo import HTRPOTrainer, TrustRegionOptimizer, make_actor, make_critic
from torchrl_htrpo.distributed import Group, seed_of, size_of
from torchrl_htrpo.envs import DetourEnv
from torchrl_htrpo.hindsight import HGFGoalSampler
from torchrl_htrpo.modules import GaussianHead, make_normalizer
from torchrl_htrpo.optim import ConjugateGradient
from torchrl_htrpo.trainers import hindsight_pipeline

WORLDS, STEPS, GOALS, UPDATES, PRODUCTS = 16, 50, 50, 10, 10
HIDDEN, ROWS, ITERATIONS, REPEATS = (256, 256, 256), 8192, 4, 30
PROCESSES = (1, 2, 4)
# glibc keeps freed memory, in every process alike: without this, page faults are most of the time of some processes.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "67108864"}
SIZES = (1, 1 << 12, 1 << 16, 1 << 18, 1 << 20)  # of the messages of the fit [float32]


@dataclass
class Traffic:
    """Messages of an iteration: kind and bytes that a process sends, and the CPU seconds that they took."""

    messages: list[tuple[str, int]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def num_bytes(self) -> int:
        """Bytes of all messages."""
        return sum(size for _, size in self.messages)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the messages inside."""
        with ExitStack() as stack:
            for kind in ("all_reduce", "all_gather", "broadcast"):
                stack.enter_context(patch.object(dist, kind, partial(self._send, kind, getattr(dist, kind))))
            yield

    def _send(self, kind: str, send: Any, *args: Any, **kwargs: Any) -> None:
        tensor = args[1] if kind == "all_gather" else args[0]
        self.messages.append((kind, tensor.nbytes))
        began = time.process_time()
        send(*args, **kwargs)
        self.seconds += time.process_time() - began


@dataclass(frozen=True)
class Network:
    """A connection: latency of a message [s] and bandwidth [bytes / s]."""

    latency: float
    bandwidth: float

    def seconds(self, kind: str, size: int, processes: int) -> float:
        """Time of one message of ``size`` bytes from each of the processes."""
        if processes == 1:
            return 0.0
        depth = math.ceil(math.log2(processes))
        if kind == "all_gather":
            return depth * self.latency + (processes - 1) * size / self.bandwidth
        factor = 2 if kind == "all_reduce" else 1
        return factor * (depth * self.latency + (processes - 1) / processes * size / self.bandwidth)


def everywhere(candidates: Tensor, originals: Tensor) -> Tensor:
    """A region of all candidates, so that there are as many goals, and so rows, in every case."""
    return torch.ones(len(candidates), dtype=torch.bool)


def make_trainer(group: Group, worlds: int) -> HTRPOTrainer:
    """A trainer with ``worlds`` environments in this process and the budgets of its share."""
    torch.manual_seed(0)
    env = DetourEnv(worlds, STEPS, seed=seed_of(0, group))
    encoder = make_normalizer(env, 5.0)
    actor = make_actor(GaussianHead(2), env, HIDDEN, encoder=encoder)
    critic = make_critic(env, HIDDEN, encoder=encoder)
    rows = ROWS * worlds * size_of(group) // WORLDS
    goals = HGFGoalSampler(GOALS, region=everywhere, process_group=group)
    torch.manual_seed(seed_of(0, group))
    return HTRPOTrainer(
        env,
        actor,
        critic,
        env.task(),
        horizon=STEPS,
        pipeline=hindsight_pipeline(actor, critic, env.task(), goals=goals, process_group=group),
        optimizer=partial(TrustRegionOptimizer, max_divergence=1e-9, direction=ConjugateGradient(PRODUCTS, 0.0)),
        critic_updates=UPDATES,
        critic_batch_size=rows // 2,
        gradient_rows=rows,
        curvature_rows=rows // 2,
        total_steps=10**9,
        directory=tempfile.gettempdir(),
        process_group=group,
    )


def measure(group: Group, worlds: int) -> dict[str, Any]:
    """CPU seconds, wall seconds and traffic of an iteration, the median of those after the first."""
    trainer, found = make_trainer(group, worlds), []
    batches = iter(trainer.collector)
    for _ in range(ITERATIONS):
        traffic, cpu, wall = Traffic(), time.process_time(), time.perf_counter()
        with traffic.counted():
            metrics = trainer.update(next(batches))
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        found.append(
            {**spent, "in_messages": traffic.seconds, "traffic": traffic, "trials": int(metrics["step/trials"])}
        )
    sizes = [sum(leaf.numel() for leaf in net.parameters()) for net in (trainer.actor, trainer.critic)]
    times = {name: median(one[name] for one in found[1:]) for name in ("cpu", "wall", "in_messages")}
    return found[-1] | times | {"parameters": sizes}


def formula(found: dict[str, Any], worlds: int) -> int:
    """Bytes of the messages of an iteration that grow with parameters, goals or candidates."""
    actor, critic = found["parameters"]
    step = 4 * actor * (1 + PRODUCTS) + 16 * (1 + found["trials"])
    weights = 2 * 4 * GOALS * STEPS
    metrics = 3 * 4 * GOALS * STEPS  # effective number of trajectories: largest, sum, squares
    candidates = worlds * STEPS * (2 * 4 + 1)
    return step + 4 * critic * UPDATES + weights + metrics + candidates


def work(rank: int, processes: int, folder: str) -> None:
    """One of the processes: both batches, then single messages."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    group = dist.group.WORLD if processes > 1 else None
    found = {"strong": measure(group, WORLDS // processes)}
    found["weak"] = measure(group, WORLDS) if group else found["strong"]
    found["messages"] = single_messages(group) if group else {}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def run_together(processes: int) -> dict[str, Any]:
    """What the processes measured: means over them of the times, the rest from the first."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (processes, folder), nprocs=processes)
        each = [torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(processes)]
    first = each[0]
    for name in ("strong", "weak"):
        first[name] |= {key: fmean(one[name][key] for one in each) for key in ("cpu", "wall", "in_messages")}
    return first


def single_messages(group: Group) -> dict[int, float]:
    """CPU seconds of an all-reduce by its bytes, the mean of many."""
    found = {}
    for size in SIZES:
        values = torch.ones(size)
        dist.barrier(group)
        began = time.process_time()
        for _ in range(REPEATS):
            dist.all_reduce(values, group=group)
        found[values.nbytes] = (time.process_time() - began) / REPEATS
    return found


def fit(messages: dict[tuple[int, int], float]) -> Network:
    """Latency and bandwidth of all-reduces, by least squares of relative errors, from {(processes, bytes): seconds}."""
    rows = [
        (2 * math.log2(count) / seconds, 2 * (count - 1) / count * size / seconds)
        for (count, size), seconds in messages.items()
    ]
    columns = torch.tensor(rows, dtype=torch.float64)
    latency, slope = torch.linalg.lstsq(columns, torch.ones(len(rows), 1, dtype=torch.float64)).solution.flatten()
    return Network(max(latency.item(), 0.0), 1 / slope.item())


def predicted(messages: list[tuple[str, int]], gpus: int, nvlink: Network, network: Network) -> float:
    """Seconds of the messages of an iteration on machines of 8 GPUs."""
    inside, machines = min(gpus, 8), -(-gpus // 8)
    return sum(
        nvlink.seconds(kind, size, inside) + network.seconds(kind, size * (8 if kind == "all_gather" else 1), machines)
        for kind, size in messages
    )


def report_here(rounds: list[dict[int, dict[str, Any]]]) -> None:
    """Print bytes, times and efficiencies of this machine: medians over the rounds."""
    for processes in PROCESSES:
        for name in ("strong", "weak") if processes > 1 else ("weak",):
            label = f"{name}_{processes}" if processes > 1 else "alone"
            runs = [one[processes][name] for one in rounds]
            for key in ("cpu", "wall", "in_messages") if processes > 1 else ("cpu", "wall"):
                print(f"FIGURE {label}_{key} {median(run[key] for run in runs):.3f} s")
            if processes > 1:
                report_scaling(label, name, processes, rounds)
    report_fit(rounds)


def report_scaling(label: str, name: str, processes: int, rounds: list[dict[int, dict[str, Any]]]) -> None:
    """Print what the messages of a case are, and its efficiency in each round's own ratio to one process."""
    found, worlds = rounds[0][processes][name], WORLDS // (processes if name == "strong" else 1)
    traffic = found["traffic"]
    print(f"FIGURE {label}_messages {len(traffic.messages)}")
    print(f"FIGURE {label}_bytes {traffic.num_bytes} B")
    print(f"RATIO {label}_bytes_formula_over_measured {formula(found, worlds) / traffic.num_bytes:.4f}")
    shared = processes if name == "strong" else 1
    for key in ("cpu", "wall"):
        ratios = [one[1]["weak"][key] / (shared * one[processes][name][key]) for one in rounds]
        print(f"RATIO {label}_efficiency_{key} {median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


def report_fit(rounds: list[dict[int, dict[str, Any]]]) -> None:
    """Print the fit to single messages, and how much of the messages of an iteration it explains."""
    single: dict[tuple[int, int], list[float]] = {}
    for one in rounds:
        for processes in PROCESSES:
            for size, seconds in one[processes]["messages"].items():
                single.setdefault((processes, size), []).append(seconds)
    middle = {place: median(seconds) for place, seconds in single.items()}
    here = fit(middle)
    print(f"FIGURE message_latency_here {here.latency * 1e6:.1f} us")
    print(f"FIGURE message_bandwidth_here {here.bandwidth / 1e9:.2f} GB/s")
    for processes in PROCESSES[1:]:
        messages = rounds[0][processes]["weak"]["traffic"].messages
        expected = sum(here.seconds(kind, size, processes) for kind, size in messages)
        spent = median(one[processes]["weak"]["in_messages"] for one in rounds)
        print(f"RATIO weak_{processes}_messages_fit_over_measured {expected / spent:.2f}")


def part_of(message: tuple[str, int], parameters: list[int]) -> str:
    """What a message is for, by its size."""
    sizes = {4 * parameters[0]: "gradient_and_products", 4 * parameters[1]: "critic"}
    return sizes.get(message[1], "small" if message[1] < 1 << 12 else "weights_and_goals")


def report_model(found: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the predicted time of messages, by what they are for, and the efficiency for many GPUs."""
    messages, nvlink = found["traffic"].messages, Network(args.nvlink_latency * 1e-6, args.nvlink * 1e9)
    for bandwidth in args.network:
        network = Network(args.network_latency * 1e-6, bandwidth * 1e9)
        for gpus in args.gpus:
            name, parts = f"predicted_{bandwidth:g}_GBps_{gpus}_gpus", Counter()
            for message in messages:
                parts[part_of(message, found["parameters"])] += predicted([message], gpus, nvlink, network)
            for part, seconds in parts.items():
                print(f"FIGURE {name}_{part} {seconds * 1e3:.2f} ms")
            for compute in args.seconds:
                print(f"RATIO {name}_efficiency_at_{compute:g}_s {compute / (compute + parts.total()):.3f}")
    for part, count in Counter(part_of(message, found["parameters"]) for message in messages).items():
        print(f"FIGURE messages_for_{part} {count}")


def main() -> None:
    """Measure, fit, predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, nargs="*", default=[0.5, 0.05], help="compute of an iteration [s]")
    parser.add_argument("--gpus", type=int, nargs="*", default=[8, 64, 1024])
    parser.add_argument("--nvlink", type=float, default=300.0, help="bandwidth inside a machine [GB/s]")
    parser.add_argument("--nvlink-latency", type=float, default=10.0, help="[us]")
    parser.add_argument("--network", type=float, nargs="*", default=[50.0, 1.25], help="between machines [GB/s]")
    parser.add_argument("--network-latency", type=float, default=25.0, help="[us]")
    args = parser.parse_args()
    os.environ.update(KEEP_MEMORY)
    print(machine(), flush=True)
    rounds = [{processes: run_together(processes) for processes in PROCESSES} for _ in range(args.rounds)]
    report_here(rounds)
    report_model(rounds[0][2]["weak"], args)


if __name__ == "__main__":
    main()
