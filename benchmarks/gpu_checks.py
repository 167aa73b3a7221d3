"""Every check that needs a GPU, in one call: tests, rates of each part of an iteration, batched physics, whole runs.

    python benchmarks/gpu_checks.py [--device cuda] [--goals 100] [--repeats 5] [--skip tests physics] [--runs push]

Output: a MACHINE line, then ``FIGURE name value unit``, ``RATIO name value``, ``SKIP stage reason`` and ``ERROR stage
message``, one per line. A stage that fails does not keep the others from running; the exit status is 1 if any did, or
if a test failed, or if there is no GPU (``--device cpu`` is for trying the script). Where MuJoCo cannot be
imported the batch comes from a random walk of the same sizes, and a SOURCE line says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import reference_update as reference
import torch
from bench_update import actor_params, cosine, ordered, paper_optimizer, reference_rows
from push_batch import (
    Collected,
    collect,
    gaussian_actor,
    gemm_rate,
    machine,
    new_critic,
    relabel,
    say,
    stages,
    synchronize,
)
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from torchrl_htrpo import (
    AllGoalSampler,
    BitFlipEnv,
    CumulativeGoalRatio,
    EqualGoals,
    GoalTask,
    GoalVTrace,
    HindsightRelabel,
    RowSampler,
    StateValue,
    TrustRegionObjective,
    TrustRegionOptimizer,
    make_actor,
    make_critic,
)
from torchrl_htrpo.batch import weight_share
from torchrl_htrpo.modules import CategoricalHead, GoalNormalizer
from torchrl_htrpo.optim import ConjugateGradient, GaussNewtonOperator
from torchrl_htrpo.optim.vectors import dot

ROOT = Path(__file__).resolve().parent.parent
ALL_ROWS = 1 << 22
PUSH = ("htrpo", "task=push", "total_steps=400000", "eval_every=5", "target_success=0.9", "chunk_rows=524288")
RUNS = {
    "bits16": ("htrpo", "task=bitflip", "env.num_bits=16", "total_steps=10000", "chunk_rows=524288"),
    "push": PUSH,
    "push_warp": (*PUSH, "+env.engine=warp", "env.device=${device}"),
}


class Checks:
    """The stages; each prints its lines."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        batch, actor, critic = batch_from_anywhere()
        self.collected: Collected = (batch.to(self.device), actor.to(self.device), critic.to(self.device))
        self.actor = self.collected[1]
        self.rows = relabel(self.collected, args.goals)

    def tests(self) -> None:
        """The tests marked gpu, and those of mujoco_warp."""
        if importlib.util.find_spec("pytest") is None:
            say("SKIP", "tests", "pytest is not installed")
            return
        missing = [] if importlib.util.find_spec("pytest_timeout") else ["-o", "timeout=300", "-o", "addopts="]
        marked = "gpu" if self.device.type == "cuda" else "gpu or warp"
        command = [sys.executable, "-m", "pytest", "-q", "-m", marked, "-p", "no:cacheprovider", *missing]
        command += ["--import-mode=importlib", str(ROOT / "tests")]
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=self.args.limit)
        say("FIGURE", "tests_exit_status", done.returncode, "")
        if done.returncode not in (0, 5):
            raise RuntimeError(f"pytest ended with {done.returncode}")

    def rates(self) -> None:
        """Matrix throughput of the device."""
        for precision in ("highest", "high"):
            with matmul_precision(precision):
                say("FIGURE", f"gemm_{precision}", f"{gemm_rate(1 << 18, device=self.device):.4g}", "FLOP/s")

    def hindsight(self) -> None:
        """Goals, relabelling, ratios, values, advantages."""
        batch, actor, critic = self.collected
        with torch.no_grad():
            for name, stage in stages(actor, critic, self.args.goals).items():
                self.time(f"hindsight_{name}", lambda stage=stage, batch=batch: stage(batch))
                batch = stage(batch)
        live = int(batch["collector", "mask"].sum())
        say("FIGURE", "hindsight_live_rows", live, "rows")

    def exact(self) -> None:
        """The exact update in float32 and with TF32, against double backward in float64 and in float32."""
        oracle = self.oracle(torch.float64)
        for precision in ("highest", "high"):
            with matmul_precision(precision):
                step, seconds = self.update(f"exact_update_{precision}", self.rows, None)
            say("RATIO", f"exact_update_{precision}_cosine_with_float64", f"{cosine(step, oracle):.8f}")
            say("RATIO", f"exact_update_{precision}_of_target", f"{seconds / 0.15:.3f}")
        params, rows = actor_params(self.actor), reference_rows(self.actor, self.rows)
        slow = self.time("reference_update", lambda: reference.update(params, rows, tolerance=0.0))
        say("RATIO", "exact_vs_reference_time", f"{slow / self.update('exact_update_again', self.rows, None)[1]:.3f}")

    def budgeted(self) -> None:
        """An update with 65 k rows for the gradient and 32 k for the curvature."""
        fewer = RowSampler(32768, priority=weight_share)(self.rows)
        self.update("budgeted_update", RowSampler(65536)(self.rows), fewer)
        self.time("row_samplers", lambda: (RowSampler(65536)(self.rows), RowSampler(32768)(self.rows)))

    def directions(self) -> None:
        """Curvature products and conjugate gradients, and how often the host waits."""
        objective = TrustRegionObjective(self.actor, chunk_size=ALL_ROWS)
        params, problem = objective.trainable_params.data, objective.problem(self.rows)
        operator = GaussNewtonOperator(problem.residuals, params, paper_optimizer(objective, 1 << 34).store)
        self.time("gradient", lambda: problem.value_and_gradient(params))
        gradient = problem.value_and_gradient(params)[2]
        self.time("linearize", lambda: GaussNewtonOperator(problem.residuals, params))
        product = operator @ gradient
        self.time("product", lambda: operator @ gradient)
        damping = 1e-2 * (dot(gradient, product) / dot(gradient, gradient)).item()
        for iterations in (4, 10):
            solver = ConjugateGradient(iterations, 0.0)
            solve = lambda solver=solver: solver(operator, gradient, damping=damping)  # noqa: E731
            self.time(f"cg_{iterations}", solve)
            say("FIGURE", f"cg_{iterations}_residual", f"{solve().residual_norm:.2e}", "")
        say("FIGURE", "cg_host_waits", waits(lambda: ConjugateGradient(10)(operator, gradient, damping=damping)), "")

    def bits(self) -> None:
        """An iteration of Bit Flipping without the critic's fit, and how often the host waits."""
        env = BitFlipEnv(16, 32, device=self.device)
        actor, critic = make_actor(CategoricalHead(16), 32).to(self.device), make_critic(32).to(self.device)
        hindsight = [
            AllGoalSampler(),
            HindsightRelabel(GoalTask(EqualGoals(), "paper_code")),
            CumulativeGoalRatio(actor, chunk_size=ALL_ROWS),
            StateValue(critic, chunk_size=ALL_ROWS),
            GoalVTrace(0.98, 0.95),
        ]
        objective = TrustRegionObjective(actor, chunk_size=ALL_ROWS)
        optimizer = TrustRegionOptimizer(objective.trainable_params, 1e-2)

        @torch.no_grad()
        def relabelled() -> TensorDictBase:
            batch = env.rollout(16, actor, break_when_any_done=False)
            for stage in hindsight:
                batch = stage(batch)
            return batch

        self.time("bits16_collect_and_relabel", relabelled)
        batch = relabelled()
        self.time("bits16_update", lambda: optimizer.step(objective.problem(batch)))
        say("FIGURE", "bits16_relabel_host_waits", waits(relabelled), "")
        say("FIGURE", "bits16_update_host_waits", waits(lambda: optimizer.step(objective.problem(batch))), "")

    def physics(self) -> None:
        """The batched Fetch physics, where mujoco_warp is installed."""
        if not warp_installed():
            say("SKIP", "physics", "mujoco_warp is not installed")
            return
        script = Path(__file__).with_name("bench_fetch_gpu.py")
        command = [sys.executable, str(script), *self.args.physics]
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=self.args.limit)
        if done.returncode:
            raise RuntimeError(f"{script.name} ended with {done.returncode}")

    def training(self) -> None:
        """Whole runs of the recipes to their target, with updates on the device; a failure does not stop the others."""
        failed = []
        for name in self.args.runs:
            if name == "push_warp" and not warp_installed():
                say("SKIP", name, "mujoco_warp is not installed")
                continue
            try:
                self.train(name)
            except Exception as error:
                failed.append(f"{name}: {error}")
        if failed:
            raise RuntimeError("; ".join(failed))

    def train(self, name: str) -> None:
        """Train one recipe."""
        recipe, *settings = RUNS[name]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(ROOT / "recipes" / f"{recipe}.py"), *settings]
            command += [f"device={self.device}", f"hydra.run.dir={folder}"]
            limit = self.args.limit
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit)
        if done.returncode:
            raise RuntimeError(f"ended with {done.returncode}: {done.stderr[-400:]}")
        result = dict(part.split("=") for part in done.stdout.splitlines()[-1].removeprefix("RESULT ").split())
        for figure, unit in (("success", "share"), ("env_steps", "steps"), ("seconds", "s")):
            say("FIGURE", f"training_{name}_{figure}", result[figure], unit)

    # --- Measuring ---

    def update(self, name: str, rows: TensorDictBase, fewer: TensorDictBase | None) -> tuple[Tensor, float]:
        """Time steps from the same parameters; the step and the median."""
        objective = TrustRegionObjective(self.actor, chunk_size=ALL_ROWS)
        optimizer = paper_optimizer(objective, 1 << 34)
        before = objective.trainable_params.data.clone()
        problem_and_step = lambda: optimizer.step(objective.problem(rows, fewer))  # noqa: E731
        result = problem_and_step()
        if not result.accepted:
            raise RuntimeError(f"{name}: {result}")
        after = objective.trainable_params.data
        step = torch.cat([(after[key] - before[key]).reshape(-1) for key in ordered(before)])

        def again() -> None:
            objective.trainable_params.data.update_(before)
            problem_and_step()

        seconds = self.time(name, again)
        if self.device.type == "cuda":
            say("FIGURE", f"{name}_memory", f"{torch.cuda.max_memory_allocated() / 1e9:.2f}", "GB")
        objective.trainable_params.data.update_(before)
        return step, seconds

    def oracle(self, dtype: torch.dtype) -> Tensor:
        """The published update by double backward."""
        params = [param.to(dtype) for param in actor_params(self.actor)]
        rows = reference_rows(self.actor, self.rows)
        cast = reference.Rows(*(getattr(rows, name).to(dtype) for name in rows.__dataclass_fields__))
        return reference.update(params, cast, tolerance=0.0).step

    def time(self, name: str, fn: Callable[[], object]) -> float:
        """Median wall seconds after a warm-up."""
        fn()
        seconds = []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for _ in range(self.args.repeats):
            synchronize(self.device)
            start = time.perf_counter()
            fn()
            synchronize(self.device)
            seconds.append(time.perf_counter() - start)
        say("FIGURE", name, f"{statistics.median(seconds):.5f}", "s")
        return statistics.median(seconds)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Set the precision of float32 matrix products inside, and restore full precision."""
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def warp_installed() -> bool:
    """Whether mujoco_warp is installed."""
    return all(importlib.util.find_spec(name) for name in ("warp", "mujoco_warp"))


def waits(fn: Callable[[], object]) -> int:
    """How often the host waits for the device in a call."""
    if not torch.cuda.is_available():
        return -1
    fn()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            fn()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in found)


def batch_from_anywhere() -> Collected:
    """FetchPush if MuJoCo is installed, else a random walk of the same sizes."""
    try:
        collected = collect()
    except (ImportError, RuntimeError, OSError) as error:
        say("SOURCE", "random walk, because FetchPush failed:", repr(error).replace("\n", " ")[:200])
        return random_walk()
    say("SOURCE", "FetchPush, untrained policy")
    return collected


@torch.no_grad()
def random_walk(worlds: int = 64, steps: int = 50) -> Collected:
    """A random walk observed through a random linear map; relabelling computes sparse rewards."""
    torch.manual_seed(0)
    normalizer = GoalNormalizer(25, 3)
    actor, critic = gaussian_actor(28, normalizer), new_critic(28, normalizer)
    achieved = torch.randn(worlds, 1, 3) * 0.1 + 0.01 * torch.randn(worlds, steps + 1, 3).cumsum(1)
    seen = torch.tanh(achieved @ torch.randn(3, 25) * 3) + 0.1 * torch.randn(worlds, steps + 1, 25)
    desired = (torch.randn(worlds, 1, 3) * 0.1).expand(worlds, steps, 3).clone()
    flag = torch.zeros(worlds, steps, 1, dtype=torch.bool)
    last = torch.arange(steps).eq(steps - 1).view(1, steps, 1).expand(worlds, steps, 1).clone()
    following = {"observation": seen[:, 1:], "achieved_goal": achieved[:, 1:], "desired_goal": desired}
    following |= {"reward": torch.zeros(worlds, steps, 1), "terminated": flag, "truncated": last, "done": last}
    batch = TensorDict(
        {
            "observation": seen[:, :-1],
            "achieved_goal": achieved[:, :-1],
            "desired_goal": desired,
            "next": TensorDict(following, batch_size=[worlds, steps]),
        },
        batch_size=[worlds, steps],
    )
    normalizer.update(batch["observation"], batch["achieved_goal"], batch["desired_goal"])
    return actor(batch), actor, critic


def main() -> int:
    """Run the stages."""
    names = ["rates", "hindsight", "exact", "budgeted", "directions", "bits", "tests", "physics", "training"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--goals", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1800.0, help="of each program that is started [s]")
    parser.add_argument("--skip", nargs="*", default=[], choices=names)
    parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=list(RUNS), help="of the stage training")
    parser.add_argument("--physics", nargs=argparse.REMAINDER, default=[], help="arguments of bench_fetch_gpu.py")
    args = parser.parse_args()
    print(machine(), flush=True)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        say(
            "ERROR",
            "everything",
            f"no CUDA device; torch {torch.__version__} is built for {torch.version.cuda or 'CPU'}",
        )
        return 1
    checks, failed = Checks(args), 0
    for name in names:
        if name in args.skip:
            continue
        try:
            getattr(checks, name)()
        except Exception as error:
            failed = 1
            say("ERROR", name, repr(error).replace("\n", " ")[:500])
    return failed


if __name__ == "__main__":
    sys.exit(main())
