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
from torchrl_htrpo import Evaluation, GaussianMixtureHead, StepResult, StepStatus

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "torchrl_htrpo"
ROOMS = ("envs", "modules", "transforms", "objectives", "optim", "evaluation")
OPTIONAL = {"ale_py", "envpool", "gymnasium", "gymnasium_robotics", "mujoco", "mujoco_warp", "warp"}


def documented() -> dict[str, str]:
    """Each documented name and the module it is documented in."""
    found, module = {}, ""
    for line in (ROOT / "docs/api.rst").read_text().splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif name := re.fullmatch(r"   (\w+)", line):
            found[name[1]] = module
    return found


def test_the_api_reference_lists_every_public_name_and_no_other() -> None:
    assert sorted(documented()) == sorted(torchrl_htrpo.__all__)


def test_the_api_reference_places_names_where_they_can_be_imported_from() -> None:
    for name, module in documented().items():
        assert hasattr(import_module(module), name), f"{module}.{name}"


def test_the_package_exports_exactly_what_its_rooms_export() -> None:
    rooms = [name for room in ROOMS for name in import_module(f"torchrl_htrpo.{room}").__all__]
    assert sorted([*rooms, "TrustRegionProblem", "use_onednn"]) == sorted(torchrl_htrpo.__all__)
    assert len(set(torchrl_htrpo.__all__)) == len(torchrl_htrpo.__all__)


def test_every_public_name_has_a_docstring() -> None:
    assert not [name for name in torchrl_htrpo.__all__ if not (getattr(torchrl_htrpo, name).__doc__ or "").strip()]


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
