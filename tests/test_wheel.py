"""The wheel holds all that it takes to train: built, installed into an empty environment, run from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def output(*command: str | Path, folder: Path) -> str:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=quiet | {"OMP_NUM_THREADS": "1", "RL_WARNINGS": "0", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The programs of an environment that has the wheel, and this one's libraries but not its checkout."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    output(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=ROOT)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index")
    output(*pip, wheel, folder=folder)
    (packages,) = (folder / "venv" / "lib").glob("*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.mark.slow
def test_it_trains_measures_and_loads_bit_flipping(installed, tmp_path):
    where = output(installed / "python", "-c", "import torchrl_htrpo; print(torchrl_htrpo.__file__)", folder=tmp_path)
    assert str(installed.parent) in where
    tiny = ("env.num_bits=4", "total_steps=128", "eval_episodes=8", "final_episodes=8", "hydra.run.dir=made")
    trained = output(installed / "htrpo", "train", "task=bitflip", *tiny, folder=tmp_path)
    assert re.search(r"RESULT success=\S+ episodes=8 env_steps=128", trained)
    assert "made: checkpoints, metrics.csv, learning_curve.png\nRESULT" in trained
    measured = output(
        installed / "python", "-m", "torchrl_htrpo", "evaluate", "run=made", "episodes=8", folder=tmp_path
    )
    assert "RESULT success=" in measured
    load = "import torchrl_htrpo as ht; print(ht.load_policy('made').in_keys)"
    assert "observation" in output(installed / "python", "-c", load, folder=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"made"}
