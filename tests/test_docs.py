"""The documentation covers the library, and the project declares what the library imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import torchrl_htrpo
from torchrl_htrpo import StepResult, StepStatus
from torchrl_htrpo.evaluation import Evaluation
from torchrl_htrpo.modules import GaussianMixtureHead

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "torchrl_htrpo"
ROOMS = ("batch", "envs", "modules", "hindsight", "objectives", "optim", "evaluation", "records", "trainers", "recipes")
OPTIONAL = {"ale_py", "envpool", "gymnasium", "gymnasium_robotics", "mujoco", "mujoco_warp", "warp", "rliable", "ray"}


def documented() -> dict[str, str]:
    """Each documented name and the module it is documented in."""
    found, module = {}, ""
    for line in (ROOT / "docs/api.rst").read_text().splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif name := re.fullmatch(r"   (\w+)", line):
            found[name[1]] = module
    return found


def public() -> dict[str, str]:
    """Each name that a room exports and the module to import it from."""
    rooms = [f"torchrl_htrpo.{room}" for room in ROOMS]
    named = {name: room for room in rooms for name in import_module(room).__all__ if not name.isupper()}
    return named | dict.fromkeys(("FetchEnv", "MsPacmanEnv"), "torchrl_htrpo.envs")


def test_the_api_reference_lists_every_public_name_and_where_it_is() -> None:
    checks = dict.fromkeys(("set_checks", "may_wait"), "torchrl_htrpo.checks")
    assert documented() == public() | checks


def test_the_names_of_the_top_level_are_those_of_the_rooms() -> None:
    top = torchrl_htrpo.__all__
    assert len(top) == len(set(top)) <= 40
    assert all(getattr(torchrl_htrpo, name) is getattr(import_module(public()[name]), name) for name in top)


def test_everything_is_imported_at_once_without_the_optional_dependencies() -> None:
    block = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(OPTIONAL))
    run(f"import sys; {block}; from torchrl_htrpo import *; HGFGoalSampler(2), load_policy, HTRPOTrainer")


def test_every_public_name_has_a_docstring() -> None:
    found = {name: getattr(import_module(room), name).__doc__ for name, room in public().items()}
    assert not [name for name, text in found.items() if not (text or "").strip()]


def test_the_version_is_that_of_the_project() -> None:
    assert torchrl_htrpo.__version__ == project()["version"]


def test_the_core_imports_without_the_optional_dependencies() -> None:
    block = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(OPTIONAL))
    names = "import torchrl_htrpo as ht; ht.BitFlipEnv(4), ht.HGFGoalSampler(2), ht.TrustRegionOptimizer"
    run(f"import sys; {block}; {names}")


def test_the_import_loads_nothing_that_only_pictures_and_intervals_need() -> None:
    run("import sys, torchrl_htrpo; assert not {'matplotlib', 'imageio', 'scipy'} & set(sys.modules)")


def run(code: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)


def metrics() -> list[str]:
    """The names of everything a run logs, from the results' fields and the recipe's text."""
    evaluation = [f"eval/{field.name}" for field in fields(Evaluation)]
    step = [f"step/{name}" for name in StepResult(StepStatus.ACCEPTED).metrics()]
    recipe = "".join(
        file.read_text() for room in ("recipes", "trainers") for file in (ROOT / "torchrl_htrpo" / room).glob("*.py")
    )
    named = re.findall(r'"((?:train|hindsight|critic|actor)/\w+)"[:\]]', recipe)
    source = (ROOT / "torchrl_htrpo/evaluation/hindsight_metrics.py").read_text()
    named += [f"hindsight/{name}" for name in re.findall(r'^ {12}"(\w+)": ', source, re.MULTILINE)]
    policy = [f"policy/{name}" for name in GaussianMixtureHead(1).warnings] + ["policy/components"]
    timed = [f"time/{phase}" for phase in re.findall(r'timeit\("(\w+)"\)', recipe)]
    assert named
    assert timed
    return evaluation + step + named + policy + timed


def test_every_logged_metric_is_defined() -> None:
    defined = set(re.findall(r"`(\w+/\w+)`", (ROOT / "docs/metrics.md").read_text()))
    assert defined == set(metrics())


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def imported(folder: Path) -> set[str]:
    modules = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add((node.module or "").split(".")[0])
    return modules - set(sys.stdlib_module_names) - {"torchrl_htrpo"}


def test_what_the_package_and_the_recipes_import_is_declared_and_nothing_else_is() -> None:
    distributions = {"hydra": "hydra-core", "omegaconf": "hydra-core"}
    own = {file.stem for file in (ROOT / "recipes").rglob("*.py")}
    used = (imported(PACKAGE) | imported(ROOT / "recipes")) - OPTIONAL - own
    declared = {re.match(r"[\w-]+", requirement)[0] for requirement in project()["dependencies"]}
    assert {distributions.get(module, module) for module in used} == declared


@pytest.mark.parametrize("name", ["torch", "torchrl", "tensordict", "mujoco", "sphinx", "pytest", "ruff", "mypy"])
def test_the_tested_set_pins(name: str) -> None:
    pins = re.findall(r"^([\w-]+)==[\w.]+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert name in pins
