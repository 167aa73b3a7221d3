"""The house stands as designed: imports point one way, every room is tested, and `__all__` is true."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "torchrl_htrpo"
SOURCES = sorted(p for p in (ROOT / PACKAGE).rglob("*.py"))
PACKAGES = sorted(p for p in SOURCES if p.name == "__init__.py")
# What each room may import besides itself. The order is that of the data flow, leaves first.
LIBRARY = {"_errors", "batch", "envs", "evaluation", "hindsight", "modules", "objectives", "optim", "records"}
ALLOWED = {
    "batch": {"_errors"},
    "envs": {"_errors", "_extras"},
    "modules": {"_errors"},
    "optim": {"_errors"},
    "hindsight": {"_errors", "batch", "envs", "modules"},
    "objectives": {"_errors", "batch", "modules", "optim"},
    "records": {"_errors", "envs"},
    "evaluation": {"_errors", "batch", "envs", "modules", "optim", "records"},
    "trainers": LIBRARY,
    "recipes": LIBRARY | {"matmul", "trainers"},
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def imports_of(path: Path, *, top_level: bool = False) -> set[str]:
    """Modules of the package that a file imports; those for type checkers only do not count."""
    found = set()
    tree = ast.parse(path.read_text())
    ignored = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    nodes = tree.body if top_level else ast.walk(tree)
    for node in nodes:
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} | (names & MODULES.keys())
    return {name for name in found if name == PACKAGE or name.startswith(PACKAGE + ".")}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("module", [name for name in MODULES if name != PACKAGE])
def test_imports_point_one_way(module):
    """Leaves (batch, envs, modules, optim) -> hindsight, objectives, records -> evaluation -> recipes."""
    room = room_of(module)
    allowed = ALLOWED.get(room, {"_errors"}) | {room}
    rooms = {room_of(name) for name in imports_of(MODULES[module])}
    assert rooms <= allowed, f"{module} must not import {sorted(rooms - allowed)}"


@pytest.mark.parametrize("path", sorted((ROOT / PACKAGE).rglob("*.py")), ids=module_of)
def test_the_library_never_imports_recipes_or_tests(path):
    tree = ast.parse(path.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"recipes", "tests", "benchmarks"}


def test_no_module_imports_itself_through_others():
    graph = {name: imports_of(path, top_level=True) & MODULES.keys() for name, path in MODULES.items()}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in graph[name] - {name}:
                # A package's __init__ imports its files; a file may not import its own package back.
                visit(other, (*trail, name))
            done.add(name)

    done: set[str] = set()
    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name != "__init__.py"], ids=module_of)
def test_every_source_file_has_its_test_file(path):
    folder = path.relative_to(ROOT / PACKAGE).parent
    wanted = ROOT / "tests" / folder / f"test_{path.stem.strip('_')}.py"
    assert wanted.exists(), f"{wanted.relative_to(ROOT)} is missing"


@pytest.mark.parametrize("path", PACKAGES, ids=module_of)
def test_public_names_exist_and_are_in_order(path):
    package = importlib.import_module(module_of(path))
    names = list(getattr(package, "__all__", ()))
    assert names, f"{module_of(path)} has no __all__"
    assert len(names) == len(set(names))
    for name in names:
        try:
            assert getattr(package, name) is not None
        except ImportError as error:  # an optional dependency
            pytest.skip(str(error))
    if path.parent.name != PACKAGE:  # the first page follows the data flow
        assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


@pytest.mark.parametrize("path", PACKAGES, ids=module_of)
def test_names_a_package_imports_for_others_are_public(path):
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
        for alias in node.names
        if not (alias.asname or alias.name).startswith("_")
    }
    package = importlib.import_module(module_of(path))
    submodules = {name.removeprefix(f"{PACKAGE}.") for name in MODULES}
    assert imported - submodules <= set(package.__all__)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_the_library_does_not_print(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert len(prints) == (module_of(path) == f"{PACKAGE}.recipes.command")  # the command line's last line


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 300


READS = {("torch", "load"), ("numpy", "load"), ("np", "load")}
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "recipes").rglob("*.py"))], ids=str)
def test_nothing_that_is_read_can_run_code(path):
    """No pickle, no ``torch.load`` of more than weights, no ``np.load`` of objects, no eval."""
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & RUNS_CODE
    assert not [call.lineno for call in ast.walk(tree) if isinstance(call, ast.Call) and _runs_code(call)]


def _runs_code(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in {"eval", "exec"}
    if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Name):
        return False
    if (call.func.value.id, call.func.attr) == ("yaml", "load"):
        return True
    told = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    reads = (call.func.value.id, call.func.attr) in READS
    return reads and (told.get("allow_pickle", "False") != "False" or told.get("weights_only", "True") != "True")


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("torch.load(path)", False),  # weights only, since torch 2.6
        ("torch.load(path, weights_only=False)", True),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path)", False),
        ("eval(text)", True),
        ("network.eval()", False),
    ],
)
def test_what_runs_code_is_told_from_what_does_not(line, bad):
    assert _runs_code(ast.parse(line).body[0].value) is bad
