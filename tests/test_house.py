"""The rules of the house, one test each: directions of imports, test files, public names, forbidden calls.

A test goes through all files and names every offender.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "torchrl_htrpo"
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))
RECIPES = sorted((ROOT / "recipes").rglob("*.py"))
# What each room may import besides itself and the files beside the rooms. The order is that of the data flow.
SHARED = {"_errors", "_extras", "checks", "distributed"}
ALLOWED: dict[str, set[str]] = {
    "batch": set(),
    "envs": set(),
    "modules": set(),
    "optim": set(),
    "hindsight": {"batch", "envs", "modules"},
    "objectives": {"batch", "modules", "optim"},
    "records": {"envs"},
    "evaluation": {"batch", "envs", "modules", "optim", "records"},
}
ALLOWED["trainers"] = {*ALLOWED}
ALLOWED["recipes"] = {*ALLOWED}
ALLOWED["__main__"] = {"recipes"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {path: ast.parse(path.read_text()) for path in (*SOURCES, *RECIPES)}
MODULES = {module_of(path): path for path in SOURCES}
PACKAGES = {name: path for name, path in MODULES.items() if path.name == "__init__.py"}


def imports_of(tree: ast.Module, *, top_level: bool = False) -> set[str]:
    """What a file imports, in full; what it imports for type checkers only does not count."""
    found = set()
    ignored = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in tree.body if top_level else ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} | (names & MODULES.keys())
    return found


def calls_of(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call))


def room_of(module: str) -> str:
    return module.removeprefix(PACKAGE).lstrip(".").split(".")[0]


def forbidden(module: str, tree: ast.Module) -> set[str]:
    """Rooms that a module imports and must not."""
    ours = {name for name in imports_of(tree) if name.split(".")[0] == PACKAGE}
    room = room_of(module)
    return {room_of(name) for name in ours} - ALLOWED.get(room, set()) - SHARED - {room}


def test_imports_point_one_way():
    """Leaves (batch, envs, modules, optim) -> hindsight, objectives, records -> evaluation -> recipes."""
    found = {name: forbidden(name, TREES[path]) for name, path in MODULES.items() if name != PACKAGE}
    assert not {name: sorted(rooms) for name, rooms in found.items() if rooms}


@pytest.mark.parametrize("room", ["batch", "envs", "modules", "hindsight", "objectives"])
def test_imports_that_optim_must_not_have_are_found(room):
    lines = (
        f"from {PACKAGE}.{room} import something",
        f"import {PACKAGE}.{room}.something",
        f"def late():\n    from {PACKAGE} import {room}",
    )
    assert all(room in forbidden(f"{PACKAGE}.optim.problem", ast.parse(line)) for line in lines)
    assert not forbidden(f"{PACKAGE}.optim.problem", ast.parse(f"from {PACKAGE}.optim.vectors import dot"))


def test_the_library_never_imports_recipes_or_tests():
    outside = {"recipes", "tests", "benchmarks"}
    assert not [str(path) for path in SOURCES if {name.split(".")[0] for name in imports_of(TREES[path])} & outside]


def test_no_module_imports_itself_through_others():
    graph = {name: imports_of(TREES[path], top_level=True) & MODULES.keys() for name, path in MODULES.items()}

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


def test_every_source_file_has_its_test_file():
    files = [path.relative_to(ROOT / PACKAGE) for path in SOURCES if path.name != "__init__.py"]
    wanted = [ROOT / "tests" / file.parent / f"test_{file.stem.strip('_')}.py" for file in files]
    assert not [str(path.relative_to(ROOT)) for path in wanted if not path.exists()]


def test_public_names_exist_once_and_in_order():
    wrong = []
    for name in PACKAGES:
        public = list(getattr(importlib.import_module(name), "__all__", ()))
        ordered = sorted(public, key=lambda item: (not item.isupper(), not item[0].isupper(), item))
        # The first page follows the data flow.
        if len(public) != len(set(public)) or (name != PACKAGE and public != ordered):
            wrong.append(name)
        wrong += [f"{name}.{item}" for item in public if not exists(name, item)]
    assert not wrong


def exists(package: str, name: str) -> bool:
    try:
        return getattr(importlib.import_module(package), name, None) is not None
    except ImportError:  # an optional dependency
        return True


def test_names_a_package_imports_for_others_are_public():
    hidden = []
    for name, path in PACKAGES.items():
        lines = [node for node in TREES[path].body if isinstance(node, ast.ImportFrom)]
        ours = [node for node in lines if (node.module or "").startswith(PACKAGE)]
        imported = {alias.asname or alias.name for node in ours for alias in node.names}
        imported = {item for item in imported if not item.startswith("_")}
        submodules = {other.removeprefix(f"{PACKAGE}.") for other in MODULES}
        hidden += [
            f"{name}.{item}"
            for item in imported - submodules - set(getattr(importlib.import_module(name), "__all__", ()))
        ]
    assert not hidden


def test_only_a_room_exports_names_and_not_the_folders_inside_it():
    inner = [name for name in PACKAGES if name.count(".") > 1 and room_of(name) != "recipes"]
    assert inner and not [name for name in inner if getattr(importlib.import_module(name), "__all__", ())]


def test_the_library_does_not_print():
    command = f"{PACKAGE}.recipes.command"  # says where a run is, in the last line
    assert [name for name, path in MODULES.items() if "print" in names_called(path)] == [command]


def names_called(path: Path) -> list[str]:
    return [call.func.id for call in calls_of(path) if isinstance(call.func, ast.Name)]


def test_files_stay_short():
    lengths = {str(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {path: length for path, length in lengths.items() if length > 300}


READS = {("torch", "load"), ("numpy", "load"), ("np", "load")}
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def test_nothing_that_is_read_can_run_code():
    """No pickle, no ``torch.load`` of more than weights, no ``np.load`` of objects, no eval."""
    for path, tree in TREES.items():
        assert not {name.split(".")[0] for name in imports_of(tree)} & RUNS_CODE, path
        assert not [call.lineno for call in calls_of(path) if _runs_code(call)], path


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
