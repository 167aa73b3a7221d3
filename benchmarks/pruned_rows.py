"""How many rows of a training run's batches may go, at which bound of the lost weight (``RowPruner``).

For each checkpoint of a Fetch run: collect 64 episodes, relabel and weigh them as the run is configured, and prune.

    python recipes/htrpo.py task=reach hydra.run.dir=outputs/reach
    python benchmarks/pruned_rows.py outputs/reach

Output: ``FIGURE kept_<steps>_<bound> share`` of the live rows, and their number and effective sample size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from hydra.utils import instantiate
from push_batch import gaussian_actor, machine, new_critic
from torchrl.envs import Compose

from torchrl_htrpo import CumulativeGoalRatio, FetchEnv, GoalNormalizer, HindsightRelabel, RowPruner, StateValue
from torchrl_htrpo.records.sealed import SealedCheckpoint
from torchrl_htrpo.records.trusted import load_config

BOUNDS = (1e-4, 1e-3, 1e-2, 5e-2)


@torch.no_grad()
def main() -> None:
    """Print the lines of every checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    print(machine())
    torch.manual_seed(0)
    cfg = load_config(args.run)
    env, task = FetchEnv(cfg.task, cfg.num_envs, seed=1), instantiate(cfg.goal_task)
    size = env.observation_spec["observation"].shape[-1]
    normalizer = GoalNormalizer(size, 3)
    actor, critic = (make(size + 3, normalizer) for make in (gaussian_actor, new_critic))
    flow = Compose(
        instantiate(cfg.goals, _partial_=True)(skip_held=task.reached),
        HindsightRelabel(task),
        CumulativeGoalRatio(actor, discount=cfg.gamma),
        StateValue(critic),
        instantiate(cfg.advantage),
    )
    for stored in sorted((args.run / "checkpoints").glob("checkpoint-*")):
        SealedCheckpoint(actor=actor, critic=critic).load(stored)
        steps, batch = int(stored.name.rpartition("-")[2]), flow(env.rollout(cfg.horizon, actor))
        live = int(batch["collector", "mask"].sum())
        print(f"FIGURE live_{steps} {live} rows")
        print(f"FIGURE ess_{steps} {batch['hindsight', 'ess'].flatten()[0].item():.0f} rows")
        for bound in BOUNDS:
            kept = int(RowPruner(bound)(batch)["collector", "mask"].sum())
            print(f"FIGURE kept_{steps}_{bound:g} {kept / live:.3f} share")


if __name__ == "__main__":
    main()
