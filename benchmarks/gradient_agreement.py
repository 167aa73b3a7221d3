"""Measure how well the policy gradients of different trajectories of a batch agree, for several weights and advantages.

The last batches of a run are split into parts of a quarter of the trajectories; each part gives a gradient under the
same hindsight goals. Their mean cosine tells how much of a gradient is signal: near 0, a step on one part gains nothing
on the others.

    python recipes/htrpo.py task=push total_steps=140000 hydra.run.dir=outputs/push
    python benchmarks/gradient_agreement.py outputs/push [--goals 50] [--rows 24576] [--seed 0]

Output: one line for each setting, ``COSINE window lmbda centered mean smallest largest``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from statistics import mean

import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn

from torchrl_htrpo import CumulativeGoalRatio, RowSampler
from torchrl_htrpo.hindsight import HGFGoalSampler, HindsightRelabel
from torchrl_htrpo.objectives import CenterAdvantage, GoalVTrace, StateValue
from torchrl_htrpo.optim.vectors import dot
from torchrl_htrpo.recipes import htrpo
from torchrl_htrpo.records.checkpoints import intact_checkpoint
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.records.trusted import load_config
from torchrl_htrpo.trainers import HTRPOTrainer

WINDOWS, LAMBDAS, CENTERED = (None, 1, 2, 5), (0.9, 0.5, 0.0), (False, True)


def main() -> None:
    """Load a run, split its last batches, and compare the gradients of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run with replay")
    parser.add_argument("--goals", type=int, default=50)
    parser.add_argument("--rows", type=int, default=24576, help="of a part, for its gradient")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    trainer = restore(args.run)
    parts = [evaluated(trainer, part) for part in split(trainer, args.goals, args.seed)]
    for window, lmbda, centered in product(WINDOWS, LAMBDAS, CENTERED):
        batches = [weigh(trainer, part, window, lmbda, centered) for part in parts]
        gradients = [gradient(trainer, batch, args.rows, args.seed) for batch in batches]
        cosines = [cosine(*pair) for pair in combinations(gradients, 2)]
        print("COSINE", window, lmbda, centered, *(f"{f(cosines):+.3f}" for f in (mean, min, max)), flush=True)


def restore(run: Path) -> HTRPOTrainer:
    """The trainer of a run with the networks and the stored batches of its newest checkpoint."""
    cfg = load_config(run)
    cfg.resume = tempfile.mkdtemp()  # a folder that is not the run's
    trainer = htrpo.build(cfg)
    if trainer.replay is None:
        raise SystemExit("gradient_agreement: the run has no replay; set replay_batches=2 or more")
    parts = {name: part for name, part in trainer.components().items() if name in ("actor", "critic", "replay")}
    SealedCheckpoint(**parts).load(intact_checkpoint(run))
    return trainer


def split(trainer: HTRPOTrainer, goals: int, seed: int, parts: int = 4) -> Iterator[TensorDictBase]:
    """Parts of the stored trajectories, relabelled with the same goals."""
    torch.manual_seed(seed)
    stored = trainer.trajectories(trainer.replay.storage[: len(trainer.replay)])
    sampler = HGFGoalSampler(goals, distance="euclidean", resolution=0.01, skip_held=trainer.task.reached)
    with_goals = sampler(stored)
    for first in range(parts):
        yield HindsightRelabel(trainer.task)(with_goals[first::parts])


def evaluated(trainer: HTRPOTrainer, rows: TensorDictBase) -> TensorDictBase:
    """Relabelled rows with values."""
    return StateValue(trainer.critic)(rows)


def weigh(
    trainer: HTRPOTrainer, rows: TensorDictBase, window: int | None, lmbda: float, centered: bool
) -> TensorDictBase:
    """Rows with weights and advantages."""
    modules = [CumulativeGoalRatio(trainer.actor, window=window), GoalVTrace(lmbda=lmbda)]
    return nn.Sequential(*modules, *([CenterAdvantage()] if centered else []))(rows)


def gradient(trainer: HTRPOTrainer, batch: TensorDictBase, rows: int, seed: int) -> TensorDict:
    """The gradient of the surrogate on some rows of a batch."""
    torch.manual_seed(seed)
    problem = trainer.objective.problem(RowSampler(rows)(batch), RowSampler(64)(batch))
    return problem.value_and_gradient(trainer.objective.trainable_params.data.clone())[-1]


def cosine(one: TensorDict, other: TensorDict) -> float:
    """The cosine of the angle between two gradients."""
    return (dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()).item()


if __name__ == "__main__":
    main()
