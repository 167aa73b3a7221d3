"""Measure the cost of a policy update: time, memory, and its share of the machine's matrix throughput.

The batch is FetchPush as an untrained policy meets it, under 100 hindsight goals (about 290 k live rows, 3 x 256 units,
140 k parameters, float32). Competitors take turns, each update in a process of its own, so that its peak memory is its
own; a figure is the median over rounds. "reference" is ``reference_update.py`` (all rows at once, double backward),
"exact" a step on all rows with the same settings, "budgeted" one on 32 k rows for the gradient and 16 k for the
curvature. All make ten iterations of conjugate gradients. The critic's part of an update is counted apart: 20 steps on
all rows at once in the reference, as published, and 40 minibatches of 2048 rows in "budgeted".

    python benchmarks/bench_update.py [--rounds 1] [--threads 2] [--chunk 4096] [--cache 1.0] [--skip-reference]

Output: a MACHINE line, ``FIGURE name value unit`` and ``RATIO name value``. RATIO exact_vs_reference_time 3 means that
the exact update takes a third of the reference's time. Times are wall-clock; ``_cpu`` is CPU time of the process,
which other users of the machine disturb less.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import reference_update as reference
import torch
from push_batch import collect, gemm_rate, machine, relabel
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchrl.modules import ValueOperator

from torchrl_htrpo import RowSampler, TrustRegionObjective, TrustRegionOptimizer
from torchrl_htrpo.batch import weight_share
from torchrl_htrpo.optim import ConjugateGradient, GaussNewtonOperator

GRADIENT_ROWS, CURVATURE_ROWS = 32768, 16384
CRITIC_UPDATES, CRITIC_ROWS = 40, 2048
Figures = dict[str, float]


def main() -> None:
    """Run the competitors in turn and print the lines."""
    args = parse()
    torch.set_num_threads(args.threads)
    if args.child:
        return run_child(args)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        args.folder = folder
        collected = collect()
        torch.save((collected, relabel(collected)), Path(folder) / "batch.pt")
        competitors = ["exact", "budgeted"] if args.skip_reference else ["reference", "exact", "budgeted"]
        results: dict[str, list[Figures]] = {name: [] for name in competitors}
        for _ in range(args.rounds):
            for name in competitors:
                results[name].append(spawn(args, name))
        report({name: median(rounds) for name, rounds in results.items()}, load_steps(folder, competitors))
    return None


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--chunk", type=int, default=4096, help="rows evaluated together")
    parser.add_argument("--cache", type=float, default=1.0, help="memory for the linearised rows [GiB]")
    parser.add_argument("--skip-reference", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- One update, in a process of its own ---


def spawn(args: argparse.Namespace, name: str) -> Figures:
    """Run a competitor."""
    command = [sys.executable, __file__, "--child", name, "--folder", args.folder]
    command += ["--threads", str(args.threads), "--chunk", str(args.chunk), "--cache", str(args.cache)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_child(args: argparse.Namespace) -> None:
    """Make one update, save the step it took, print the figures."""
    (_, actor, critic), batch = torch.load(Path(args.folder) / "batch.pt", weights_only=False)
    before = actor_params(actor)
    competitor = run_reference if args.child == "reference" else functools.partial(run_ours, args=args)
    figures, step = competitor(actor, batch)
    torch.save((before, step), Path(args.folder) / f"{args.child}.pt")
    fit = {"reference": fit_as_published, "budgeted": fit_in_minibatches}.get(args.child)
    if fit is not None:
        figures["critic_time"], figures["critic_cpu"], _ = timed(lambda: fit(actor, critic, batch))
    print(json.dumps(figures))


def fit_as_published(_: ProbabilisticTensorDictSequential, critic: ValueOperator, batch: TensorDictBase) -> None:
    """All rows at once."""
    live = batch[batch["collector", "mask"].nonzero(as_tuple=True)]
    with torch.no_grad():
        inputs = critic.module.encoder(live["observation"], live["desired_goal"])
    reference.fit_critic([param.detach() for param in critic.parameters()], inputs, live["value_target"].squeeze(-1))


def fit_in_minibatches(actor: ProbabilisticTensorDictSequential, critic: ValueOperator, batch: TensorDictBase) -> None:
    """As the recipe does."""
    objective = TrustRegionObjective(actor, critic)
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-4)
    sampler = RowSampler(CRITIC_ROWS, uniform_share=1.0)
    targets = batch.select(*critic.in_keys, "value_target", "importance_weight", ("collector", "mask"))
    for rows in sampler.draws(targets, CRITIC_UPDATES):
        loss = objective.loss_critic(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def run_reference(actor: ProbabilisticTensorDictSequential, batch: TensorDictBase) -> tuple[Figures, Tensor]:
    """The published update."""
    params, rows = actor_params(actor), reference_rows(actor, batch)
    base = peak_memory()
    wall, cpu, done = timed(lambda: reference.update(params, rows, tolerance=0.0))
    figures = {"time": wall, "cpu": cpu, "memory": peak_memory(), "memory_before": base, "gain": done.gain}
    leaves = [param.requires_grad_() for param in params]
    product = reference.curvature(leaves, rows)
    return {**figures, **product_times(lambda: product(done.direction))}, done.step


def run_ours(
    actor: ProbabilisticTensorDictSequential, batch: TensorDictBase, args: argparse.Namespace
) -> tuple[Figures, Tensor]:
    """A step of the library: with fresh memory, then with reused memory."""
    objective = TrustRegionObjective(actor, chunk_size=args.chunk)
    optimizer = paper_optimizer(objective, int(args.cache * 2**30))
    generator = torch.Generator().manual_seed(0)
    gradient_rows = RowSampler(GRADIENT_ROWS, generator=generator)
    curvature_rows = RowSampler(CURVATURE_ROWS, priority=weight_share, generator=generator)
    before, base = objective.trainable_params.data.clone(), peak_memory()

    def update() -> None:
        subsets = (gradient_rows(batch), curvature_rows(batch)) if args.child == "budgeted" else (batch, None)
        result = optimizer.step(objective.problem(*subsets))
        assert result.accepted, result

    wall, cpu, _ = timed(update)
    step = torch.cat([(objective.trainable_params.data[key] - before[key]).reshape(-1) for key in ordered(before)])
    figures = {"time": wall, "cpu": cpu, "memory": peak_memory(), "memory_before": base}
    objective.trainable_params.data.update_(before)
    figures["time_warm"], figures["cpu_warm"], _ = timed(update)
    objective.trainable_params.data.update_(before)
    if args.child == "exact":
        problem = objective.problem(batch)
        operator = GaussNewtonOperator(problem.residuals, before, optimizer.store)
        figures |= product_times(lambda: operator @ before)
        figures["flops"] = count_flops(objective, batch, args)
        figures["gemm_rate"] = gemm_rate(args.chunk)
        figures["gemm_rate_cpu"] = gemm_rate(args.chunk, clock=time.process_time)
    return figures, step


def paper_optimizer(objective: TrustRegionObjective, cache_bytes: int) -> TrustRegionOptimizer:
    """The published rule with ten iterations for any residual."""
    return TrustRegionOptimizer(
        objective.trainable_params,
        2e-5,
        damping=1e-3,
        damping_mode="absolute",
        scale_with_damping=True,
        direction=ConjugateGradient(10, tolerance=0.0, relative=False),
        cache_bytes=cache_bytes,
    )


def count_flops(objective: TrustRegionObjective, batch: TensorDictBase, args: argparse.Namespace) -> float:
    """Floating-point operations of an exact update, counted on an eighth of the rows with an eighth of the memory."""
    live = batch["collector", "mask"].nonzero(as_tuple=True)
    share = batch[tuple(index[: len(index) // 8] for index in live)]
    optimizer = paper_optimizer(objective, int(args.cache * 2**30 / 8))
    before = objective.trainable_params.data.clone()
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **kwargs: 2 * math.prod(a) * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        optimizer.step(objective.problem(share))
    objective.trainable_params.data.update_(before)
    return float(counter.get_total_flops() * 8)


def actor_params(actor: ProbabilisticTensorDictSequential) -> list[Tensor]:
    """The parameters in the reference's order."""
    named = dict(actor.named_parameters())
    return [named[key].detach().clone() for key in ordered(named)]


def ordered(names: dict[str, Tensor]) -> list[str]:
    """The log-scale, then weight and bias of each layer."""
    return sorted(names.keys(), key=lambda name: ("log_scale" not in name, name.rpartition(".")[0], "bias" in name))


@torch.no_grad()
def reference_rows(actor: ProbabilisticTensorDictSequential, batch: TensorDictBase) -> reference.Rows:
    """Live rows, normalised and joined."""
    live = batch[batch["collector", "mask"].nonzero(as_tuple=True)]
    inputs = actor[0].module.encoder(live["observation"], live["desired_goal"])
    advantage = live["advantage"].squeeze(-1)
    return reference.Rows(inputs, live["action"], live["action_log_prob"], live["importance_weight"], advantage)


# --- Measuring ---


def timed(fn: Callable[[], object]) -> tuple[float, float, object]:
    """Wall seconds, CPU seconds, result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = fn()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def product_times(product: Callable[[], object], repeats: int = 3) -> Figures:
    """Median times of a product with the curvature."""
    runs = [timed(product)[:2] for _ in range(repeats)]
    wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
    return {"product": wall, "product_cpu": cpu}


def peak_memory() -> float:
    """Peak resident memory of this process [GB]."""
    status = Path("/proc/self/status")
    if status.exists():  # Unlike ru_maxrss it does not remember the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def median(rounds: list[Figures]) -> Figures:
    """Median of each key."""
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def load_steps(folder: str, names: list[str]) -> dict[str, Tensor]:
    """The steps taken in the last round."""
    return {name: torch.load(Path(folder) / f"{name}.pt")[1] for name in names}


# --- Reporting ---


def report(figures: dict[str, Figures], steps: dict[str, Tensor]) -> None:
    """Print figures and ratios of the competitors."""
    units = {
        "memory": "GB",
        "memory_before": "GB",
        "flops": "FLOP",
        "gemm_rate": "FLOP/s",
        "gemm_rate_cpu": "FLOP/s",
        "gain": "",
    }
    for name, each in figures.items():
        for key, value in each.items():
            print(f"FIGURE {name}_{key} {value:.4g} {units.get(key, 's')}")
    exact = figures["exact"]
    ratios = {
        "exact_flops_over_gemm_rate_cpu": exact["flops"] / exact["cpu"] / exact["gemm_rate_cpu"],
        "exact_flops_over_gemm_rate": exact["flops"] / exact["time"] / exact["gemm_rate"],
        "exact_flops_over_gemm_rate_warm": exact["flops"] / exact["time_warm"] / exact["gemm_rate"],
        "budgeted_vs_exact_time": exact["time_warm"] / figures["budgeted"]["time_warm"],
        "budgeted_vs_exact_cpu": exact["cpu_warm"] / figures["budgeted"]["cpu_warm"],
        "budgeted_cosine_with_exact": cosine(steps["budgeted"], steps["exact"]),
    }
    if "reference" in figures:
        old = figures["reference"]
        ratios |= {
            "exact_vs_reference_time": old["time"] / exact["time"],
            "exact_vs_reference_cpu": old["cpu"] / exact["cpu"],
            "exact_vs_reference_memory": old["memory"] / exact["memory"],
            "exact_cosine_with_reference": cosine(steps["exact"], steps["reference"]),
            "exact_step_length_over_reference": (steps["exact"].norm() / steps["reference"].norm()).item(),
            "budgeted_vs_reference_cpu": old["cpu"] / figures["budgeted"]["cpu"],
            "budgeted_vs_published_cpu": together(old, "cpu") / together(figures["budgeted"], "cpu"),
            "budgeted_vs_published_time": together(old, "time") / together(figures["budgeted"], "time"),
            "product_vs_double_backward_time": old["product"] / exact["product"],
            "product_vs_double_backward_cpu": old["product_cpu"] / exact["product_cpu"],
        }
    for name, value in ratios.items():
        print(f"RATIO {name} {value:.6g}")


def together(figures: Figures, clock: str) -> float:
    """Sum of policy and critic."""
    return figures[clock] + figures[f"critic_{clock}"]


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two steps."""
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0).item()


if __name__ == "__main__":
    main()
