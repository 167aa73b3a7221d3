"""Every how-to of the documentation runs, and its assertions hold."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/how_to").glob("*.py"))
NEEDS = {
    "deploy": "gymnasium_robotics",
    "mixed_actions": "gymnasium",
    "own_environment": "gymnasium",
    "trpo_alone": "mujoco",
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_how_to_runs_and_its_assertions_hold(path):
    needed = NEEDS.get(path.stem)
    if needed and not find_spec(needed):
        pytest.skip(f"needs {needed}")
    if "torchrun" in path.read_text():
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        subprocess.run(
            [*TORCHRUN, str(path)], check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, timeout=300
        )
    else:
        runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_how_to_checks_something(path):
    assert re.search(r"^ *assert ", path.read_text(), re.MULTILINE)


def test_an_own_environment_takes_ten_lines_to_train():
    body = ast.parse((ROOT / "docs/how_to/own_environment.py").read_text()).body
    after = next(index for index, node in enumerate(body) if isinstance(node, ast.ClassDef)) + 1
    assert len(body[after:]) <= 10


def test_the_page_shows_every_how_to():
    shown = re.findall(r"```\{literalinclude\} how_to/(\w+)\.py", (ROOT / "docs/pipelines.md").read_text())
    assert sorted(shown) == [path.stem for path in PAGES]
