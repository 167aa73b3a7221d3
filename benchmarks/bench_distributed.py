"""What an iteration sends between processes, what that costs here, and what a cost model says of many GPUs.

Runs iterations of HTRPO in one process and in two (gloo, one thread each): the same batch divided (strong scaling) and
the same batch for each (weak scaling). Steps are tiny, so every iteration is that of an untrained policy. Times are CPU
seconds of a process, with those of gloo's threads and without waiting, since two processes may share a core here.
Counts every message and its bytes, and compares them with a formula. Fits the latency and the bandwidth of a message,
and compares the time that the fit gives for all messages of an iteration with the measured time. Then predicts the
efficiency of weak scaling on GPUs, from given latencies and bandwidths.

The model: an all-reduce of b bytes over P processes takes 2 log2(P) latencies and 2 b / bandwidth, a gathering of b
bytes from each (P - 1) b / bandwidth and log2(P) latencies. Messages of machines of 8 GPUs go over NVLink inside, then
over the network between machines. Efficiency is compute / (compute + messages).

    python benchmarks/bench_distributed.py [--seconds 0.5] [--nvlink 300] [--network 50 1.25]

Output: a MACHINE line, ``FIGURE name value unit``, and ``RATIO name value``.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from push_batch import machine
from torch.multiprocessing import spawn

from torchrl_htrpo import HTRPOTrainer, TrustRegionOptimizer, make_actor, make_critic
from torchrl_htrpo.distributed import Group, rank_of, seed_of, size_of
from torchrl_htrpo.envs import DetourEnv
from torchrl_htrpo.hindsight import HGFGoalSampler
from torchrl_htrpo.modules import GaussianHead, make_normalizer
from torchrl_htrpo.optim import ConjugateGradient
from torchrl_htrpo.trainers import hindsight_pipeline

WORLDS, STEPS, GOALS, UPDATES, PRODUCTS = 16, 50, 50, 10, 10
HIDDEN, ROWS, ITERATIONS, REPEATS = (256, 256, 256), 8192, 4, 30
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


def make_trainer(group: Group, worlds: int) -> HTRPOTrainer:
    """A trainer with ``worlds`` environments in this process and the budgets of its share."""
    torch.manual_seed(0)
    env = DetourEnv(worlds, STEPS, seed=seed_of(0, group))
    encoder = make_normalizer(env, 5.0)
    actor = make_actor(GaussianHead(2), env, HIDDEN, encoder=encoder)
    critic = make_critic(env, HIDDEN, encoder=encoder)
    rows = ROWS * worlds * size_of(group) // WORLDS
    goals = HGFGoalSampler(GOALS, process_group=group)
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
    """CPU seconds and traffic of an iteration: the cheapest of several after the first."""
    trainer, found = make_trainer(group, worlds), []
    batches = iter(trainer.collector)
    for _ in range(ITERATIONS):
        traffic, cpu = Traffic(), time.process_time()
        with traffic.counted():
            metrics = trainer.update(next(batches))
        spent = time.process_time() - cpu
        found.append({"cpu": spent, "traffic": traffic, "trials": int(metrics["step/trials"])})
    sizes = [sum(leaf.numel() for leaf in net.parameters()) for net in (trainer.actor, trainer.critic)]
    return min(found[1:], key=lambda one: one["cpu"]) | {"parameters": sizes}


def formula(found: dict[str, Any], worlds: int) -> int:
    """Bytes of the messages of an iteration that grow with parameters, goals or candidates."""
    actor, critic = found["parameters"]
    step = 4 * actor * (1 + PRODUCTS) + 16 * (1 + found["trials"])
    weights = 2 * 4 * GOALS * STEPS
    metrics = 3 * 4 * GOALS * STEPS  # effective number of trajectories: largest, sum, squares
    candidates = worlds * STEPS * (2 * 4 + 1)
    return step + 4 * critic * UPDATES + weights + metrics + candidates


def work_alone(rank: int, out: str) -> None:
    """A single process, started as the two are."""
    torch.set_num_threads(1)
    torch.save(measure(None, WORLDS), out)


def work(rank: int, meeting: str, out: str) -> None:
    """One of two processes: both batches, then single messages."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    group = dist.group.WORLD
    found = {"strong": measure(group, WORLDS // 2), "weak": measure(group, WORLDS), "messages": single_messages(group)}
    if rank_of(group) == 0:
        torch.save(found, out)
    dist.barrier()
    dist.destroy_process_group()


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


def fit(messages: dict[int, float]) -> Network:
    """Latency and bandwidth of two processes' all-reduces, by least squares of relative errors."""
    size, seconds = (torch.tensor(values, dtype=torch.float64) for values in (list(messages), list(messages.values())))
    columns = torch.stack((2 / seconds, size / seconds), -1)
    latency, slope = torch.linalg.lstsq(columns, torch.ones(len(size), 1, dtype=torch.float64)).solution.flatten()
    return Network(max(latency.item(), 0.0), 1 / slope.item())


def predicted(messages: list[tuple[str, int]], gpus: int, nvlink: Network, network: Network) -> float:
    """Seconds of the messages of an iteration on machines of 8 GPUs."""
    inside, machines = min(gpus, 8), -(-gpus // 8)
    return sum(
        nvlink.seconds(kind, size, inside) + network.seconds(kind, size * (8 if kind == "all_gather" else 1), machines)
        for kind, size in messages
    )


def report_here(alone: dict[str, Any], pair: dict[str, Any]) -> None:
    """Print bytes, times and ratios of this machine."""
    for name, worlds in (("strong", WORLDS // 2), ("weak", WORLDS)):
        found, traffic = pair[name], pair[name]["traffic"]
        print(f"FIGURE {name}_messages {len(traffic.messages)}")
        print(f"FIGURE {name}_bytes {traffic.num_bytes} B")
        print(f"RATIO {name}_bytes_formula_over_measured {formula(found, worlds) / traffic.num_bytes:.4f}")
        print(f"RATIO {name}_cpu_of_a_process_over_one_alone {found['cpu'] / alone['cpu']:.3f}")
        print(f"RATIO {name}_messages_over_cpu {traffic.seconds / found['cpu']:.3f}")
    here, traffic = fit(pair["messages"]), pair["weak"]["traffic"]
    print(f"FIGURE message_latency_here {here.latency * 1e6:.1f} us")
    print(f"FIGURE message_bandwidth_here {here.bandwidth / 1e9:.2f} GB/s")
    expected = sum(here.seconds(kind, size, 2) for kind, size in traffic.messages)
    print(f"FIGURE weak_messages_cpu {traffic.seconds:.4f} s")
    print(f"RATIO weak_messages_model_over_measured {expected / traffic.seconds:.2f}")


def report_model(messages: list[tuple[str, int]], args: argparse.Namespace) -> None:
    """Print the predicted efficiency for many GPUs."""
    nvlink = Network(args.nvlink_latency * 1e-6, args.nvlink * 1e9)
    for bandwidth in args.network:
        network = Network(args.network_latency * 1e-6, bandwidth * 1e9)
        for gpus in args.gpus:
            spent = predicted(messages, gpus, nvlink, network)
            name = f"network_{bandwidth:g}_GBps_gpus_{gpus}"
            print(f"FIGURE {name}_messages {spent * 1e3:.2f} ms")
            print(f"RATIO {name}_efficiency {args.seconds / (args.seconds + spent):.3f}")


def main() -> None:
    """Measure, fit, predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="compute of an iteration on a GPU [s]")
    parser.add_argument("--gpus", type=int, nargs="*", default=[8, 64, 1024])
    parser.add_argument("--nvlink", type=float, default=300.0, help="bandwidth inside a machine [GB/s]")
    parser.add_argument("--nvlink-latency", type=float, default=10.0, help="[us]")
    parser.add_argument("--network", type=float, nargs="*", default=[50.0, 1.25], help="between machines [GB/s]")
    parser.add_argument("--network-latency", type=float, default=25.0, help="[us]")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        spawn(work_alone, (f"{folder}/alone.pt",), nprocs=1)
        spawn(work, (f"{folder}/meet", f"{folder}/found.pt"), nprocs=2)
        alone = torch.load(f"{folder}/alone.pt", weights_only=False)
        pair = torch.load(f"{folder}/found.pt", weights_only=False)
    report_here(alone, pair)
    report_model(pair["weak"]["traffic"].messages, args)


if __name__ == "__main__":
    main()
