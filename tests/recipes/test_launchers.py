"""Several seeds at once, with the launchers of Hydra that the documentation names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.recipes.runs import TINY
from torchrl_htrpo.records import read_table

LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "hydra.launcher.timeout_min=5"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_seed_is_a_run_of_its_own(launcher, tmp_path):
    plugin, option = LAUNCHERS[launcher]
    pytest.importorskip(plugin)
    given = ["task=bitflip", *TINY["htrpo_bitflip"], "num_envs=4", "total_steps=32", "seed=0,1"]
    command = [sys.executable, "-m", "torchrl_htrpo", "train", "-m", f"hydra/launcher={launcher}", option, *given]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=280)
    tables = [read_table(path / "metrics.csv") for path in sorted(tmp_path.glob("multirun/*/*/[01]"))]
    assert [len(table["step/divergence"]) for table in tables] == [2, 2]
    assert tables[0]["train/entropy"] != tables[1]["train/entropy"]
