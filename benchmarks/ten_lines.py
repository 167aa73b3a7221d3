"""Train through the ten lines of the README on environments of other packages, each by its name.

    pip install panda-gym
    python benchmarks/ten_lines.py panda_gym:PandaReach-v3 --seed 0
    python benchmarks/ten_lines.py --draw

A run prints its result and keeps its metrics in docs/results/ten_lines; every run draws docs/results/ten_lines.png
and docs/results/tables/ten_lines.md again, ``--draw`` does only that.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from matplotlib.figure import Figure

import torchrl_htrpo as ht
from torchrl_htrpo.evaluation import success_interval
from torchrl_htrpo.records.tables import Table, read_table, write_table

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results"
DATA = RESULTS / "ten_lines"
OWN = "point_mass"  # the environment of docs/how_to/own_environment.py
SOLVED = 0.9
SHOWN = {"eval/success": "at any step", "eval/success_last": "at the last step"}
KEPT = (*SHOWN, "eval/episodes", "train/success", "hindsight/ess", "hindsight/solved_share", "step/accepted")


@dataclass(frozen=True)
class Case:
    """What a user knows of an environment.

    Args:
        horizon: steps of an episode.
        num_envs: environments, so episodes of a batch.
        steps: of the training.
        every: iterations between evaluations.
        env: further arguments of ``make_goal_env``.
        task: further arguments of ``GoalTask.from_gymnasium``.
    """

    horizon: int
    num_envs: int
    steps: int
    every: int = 5
    env: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=lambda: {"reward": "sparse", "success_reward": 10.0})


COST = {"info_keys": ["cost"]}
CASES = {
    OWN: Case(20, 32, 20_000, env=COST, task={"reached": ht.WithinDistance(0.15), **COST}),
    "PointMaze_UMaze-v3": Case(300, 16, 150_000),
    "panda_gym:PandaReach-v3": Case(50, 32, 30_000),
    "panda_gym:PandaPush-v3": Case(50, 32, 120_000, every=10),
    "HandReach-v3": Case(50, 32, 30_000, every=10),
}


def train(name: str, case: Case, seed: int, directory: Path | str) -> str:
    """Train in ten lines; return the result of the run."""
    make, horizon = own_environment() if name == OWN else name, case.horizon
    torch.manual_seed(seed)
    env, exam = (ht.make_goal_env(make, case.num_envs, seed=s, **case.env) for s in (seed, seed + 1))
    task = ht.GoalTask.from_gymnasium(env, **case.task)
    encoder = ht.make_normalizer(env)
    actor = ht.make_actor(ht.modules.GaussianHead, env, (128, 128), encoder=encoder)
    critic = ht.make_critic(env, (128, 128), encoder=encoder)
    pipeline = ht.hindsight_pipeline(actor, critic, task, gamma=1 - 1 / horizon, window=1, center_advantage=True)
    evaluator = ht.Evaluator(exam, task, horizon, every=case.every, final_episodes=100)
    loop = {"horizon": horizon, "total_steps": case.steps, "replay_batches": 4, "warmup_steps": 640}
    loop |= {"pipeline": pipeline, "evaluator": evaluator, "directory": directory}
    return ht.HTRPOTrainer(env, actor, critic, task, **loop).train()


def own_environment() -> type:
    """The environment of the how-to, without its training."""
    source = (DOCS / "how_to/own_environment.py").read_text().partition("\ntorch.manual_seed")[0]
    names: dict[str, Any] = {}
    exec(compile(source, "own_environment.py", "exec"), names)
    return names["PointMass"]


def keep(directory: Path, name: str, seed: int, cpu_seconds: float) -> None:
    """Keep the curves of a run, and where they come from."""
    table = {key: rows for key, rows in read_table(directory / "metrics.csv").items() if key in KEPT}
    short = {key: [(step, float(f"{value:.5g}")) for step, value in rows] for key, rows in table.items()}
    place = place_of(name, seed)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_table(short, place)
    start = json.loads((directory / "run.json").read_text())["starts"][0]
    place.with_suffix(".json").write_text(json.dumps({"cpu_seconds": round(cpu_seconds), **start}, indent=1) + "\n")


def place_of(name: str, seed: int) -> Path:
    """The file of a kept run."""
    return DATA / name.rpartition(":")[2] / f"seed_{seed}.csv"


def kept() -> Iterator[tuple[str, int, Table, dict[str, Any]]]:
    """Name, seed, curves and record of every kept run."""
    for name in CASES:
        for place in sorted(place_of(name, 0).parent.glob("seed_*.csv")):
            record = json.loads(place.with_suffix(".json").read_text())
            yield name, int(place.stem.removeprefix("seed_")), read_table(place), record


def share(rows: list[tuple[int, float]], episodes: int) -> str:
    """The last entry of a curve with Wilson's interval."""
    low, high = success_interval(round(rows[-1][1] * episodes), episodes)
    return f"{rows[-1][1]:.2f} [{low:.2f}, {high:.2f}]"


def row(name: str, seed: int, table: Table, record: dict[str, Any]) -> str:
    """A row of the table."""
    reached, last = (table[key] for key in SHOWN)
    episodes, steps = int(table["eval/episodes"][-1][1]), reached[-1][0]
    first = next((f"{step / 1000:.3g} k" for step, success in reached if success >= SOLVED), "")
    first = first or f"not solved within {steps / 1000:.0f} k"
    ends = f"{share(reached, episodes)} | {share(last, episodes)}"
    return (
        f"| `{name}` | {seed} | {steps:,} | {ends} | {first} | {record['cpu_seconds'] / 60:.0f} | {record['at'][:10]} |"
    )


def draw() -> None:
    """Write the table and the picture of all kept runs."""
    head = "| environment | seed | steps | at any step | at the last step | first at 0.9 | CPU minutes | date |"
    rows = [head, "|---" * 8 + "|", *(row(*run) for run in kept())]
    (RESULTS / "tables/ten_lines.md").write_text("\n".join(rows) + "\n")
    figure = Figure(figsize=(3 * len(CASES), 3), layout="constrained")
    panels = dict(zip(CASES, figure.subplots(1, len(CASES), sharey=True), strict=True))
    for name, seed, table, _ in kept():
        for color, (key, label) in zip(("tab:blue", "tab:orange"), SHOWN.items(), strict=True):
            steps, values = zip(*table[key], strict=True)
            panels[name].plot(
                [step / 1000 for step in steps], values, color=color, marker=".", label=None if seed else label
            )
    for name, axes in panels.items():
        axes.set(title=name.rpartition(":")[2], xlabel="environment steps [k]", ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    panels[OWN].set_ylabel("success, greedy")
    panels[OWN].legend(fontsize="small")
    figure.savefig(RESULTS / "ten_lines.png", dpi=110)


def main() -> None:
    """Train on one environment, keep the run, and draw."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", choices=list(CASES), metavar="NAME", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw", action="store_true", help="only draw the kept runs")
    given = parser.parse_args()
    if not (given.name or given.draw):
        parser.error("give NAME or --draw")
    if given.name:
        with TemporaryDirectory() as folder:
            since = time.process_time()
            print(train(given.name, CASES[given.name], given.seed, folder))
            keep(Path(folder), given.name, given.seed, time.process_time() - since)
    draw()


if __name__ == "__main__":
    main()
