"""The first iterations of four recipes are what they were: metrics and parameters, from the same seed.

Bits depend on the processor, so the numbers are compared closely; ``HTRPO_PINS=exact`` compares every bit, on the
machine that wrote them, and ``HTRPO_PINS=write`` writes them anew.
"""

from __future__ import annotations

import json
import os
from math import fsum
from pathlib import Path

import pytest
import torch

from torchrl_htrpo.recipes import her, htrpo
from torchrl_htrpo.records import read_table
from torchrl_htrpo.records.checkpoints import intact_checkpoint
from torchrl_htrpo.records.sealed import SealedCheckpoint

STORE = Path(__file__).parent / "pins.json"
MODE = os.environ.get("HTRPO_PINS", "close")
EXAM = ("eval_episodes=16", "final_episodes=16", "hidden_sizes=[32,32]", "seed=3")
RUNS = {
    "htrpo_fetch": (
        "num_envs=16",
        "env.num_threads=1",
        "batch_steps=800",
        "replay_batches=1",
        "num_goals=100",
        "ratio_window=null",
        "center_advantage=false",
        "warmup_steps=160",
        "total_steps=2560",
        "gradient_rows=4096",
        "curvature_rows=2048",
        "critic.updates=3",
        "critic.batch_size=1024",
        "onednn=false",
    ),
    "htrpo_bitflip": ("env.num_bits=16", "total_steps=768", "critic.updates=5", "onednn=false"),
    "htrpo_maze": (
        "num_envs=16",
        "replay_batches=1",
        "head.uniform_share=0",
        "total_steps=2048",
        "gradient_rows=2048",
        "curvature_rows=1024",
        "onednn=false",
    ),
    "her_bitflip": ("env.num_bits=16", "total_steps=768"),
}


class Parameters:
    """Load the state of a network from a checkpoint."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state


def found_in(folder: Path) -> dict[str, list[float]]:
    """Every metric but times, and of the policy's parameters the sum and the sum of squares."""
    table = read_table(folder / "metrics.csv")
    found = {name: [value for _, value in rows] for name, rows in table.items() if not name.startswith("time/")}
    actor = Parameters()
    SealedCheckpoint(actor=actor).load(intact_checkpoint(folder))
    leaves = [leaf.double() for leaf in actor.state.values() if torch.is_tensor(leaf)]
    # Sums that do not depend on the order of the parameters, so that one may get another name.
    sums, squares = ([form(leaf).sum().item() for leaf in leaves] for form in (torch.clone, torch.square))
    found["parameters"] = [fsum(sums), fsum(squares)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RUNS)
def test_the_first_iterations_are_what_they_were(recipe, configured, tmp_path):
    if recipe == "htrpo_fetch":
        pytest.importorskip("mujoco")
    train = her.train if recipe.startswith("her") else htrpo.train
    train(configured(recipe, *RUNS[recipe], *EXAM, directory=tmp_path, tiny=False))
    found = found_in(tmp_path)
    pins = json.loads(STORE.read_text()) if STORE.exists() else {}
    if MODE == "write":
        STORE.write_text(json.dumps(pins | {recipe: found}, indent=1, sort_keys=True) + "\n")
    elif MODE == "exact":
        assert found == pins[recipe]
    else:
        assert found.keys() == pins[recipe].keys()
        for name, values in pins[recipe].items():
            assert found[name] == pytest.approx(values, rel=1e-3, abs=1e-5, nan_ok=True), name
