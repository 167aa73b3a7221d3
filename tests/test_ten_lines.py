"""The ten lines of the README are those of the script that runs them, and its table is drawn from the kept runs."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script, which keeps its runs in a folder of its own."""
    pytest.importorskip("gymnasium")
    spec = importlib.util.spec_from_file_location("ten_lines", ROOT / "benchmarks/ten_lines.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    (tmp_path / "tables").mkdir()
    return module


def calls(tree: ast.AST) -> list[str]:
    """The names of the library that a program uses."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("ht.")]
    return sorted({ast.unparse(node) for node in found})


def arguments(tree: ast.AST, name: str) -> set[str | None]:
    """The keywords of the call of a function of the library."""
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]
    return {keyword.arg for keyword in call.keywords}


def test_the_readme_and_the_script_have_the_same_ten_lines():
    readme = ast.parse(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0])
    source = ast.parse((ROOT / "benchmarks/ten_lines.py").read_text())
    (trained,) = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "train"]
    assert calls(readme) == calls(trained)
    for name in ("ht.hindsight_pipeline", "ht.HTRPOTrainer", "ht.Evaluator", "ht.make_actor"):
        assert arguments(readme, name) == arguments(trained, name)


def test_a_run_is_kept_and_drawn(script, tmp_path):
    case = script.Case(20, 4, 240, env=script.COST, task=script.CASES[script.OWN].task)
    assert script.train(script.OWN, case, 0, tmp_path / "run").startswith("RESULT success=")
    script.keep(tmp_path / "run", script.OWN, 0, cpu_seconds=90.0)
    script.draw()
    (row,) = [line for line in (tmp_path / "tables/ten_lines.md").read_text().splitlines() if script.OWN in line]
    assert re.match(r"\| `point_mass` \| 0 \| \d+ \| 0\.\d\d \[0\.\d\d, 0\.\d\d\] \|", row)
    assert (tmp_path / "ten_lines.png").stat().st_size > 1000


def test_a_run_that_did_not_learn_is_called_not_solved(script):
    table = {
        "eval/success": [(5_000, 0.1), (10_000, 0.2)],
        "eval/success_last": [(5_000, 0.0), (10_000, 0.1)],
        "eval/episodes": [(5_000, 64.0), (10_000, 100.0)],
    }
    row = script.row("HandReach-v3", 1, table, {"cpu_seconds": 120, "at": "2026-11-25T13:00:00"})
    assert row.split(" | ")[3:6] == ["0.20 [0.13, 0.29]", "0.10 [0.06, 0.17]", "not solved within 10 k"]


def test_the_table_of_the_page_is_that_of_the_kept_runs(script, monkeypatch):
    page = (ROOT / "docs/results/tables/ten_lines.md").read_text().splitlines()[2:]
    monkeypatch.setattr(script, "DATA", ROOT / "docs/results/ten_lines")
    assert page == [script.row(*run) for run in script.kept()]


def test_every_kept_run_says_where_it_comes_from():
    records = [json.loads(file.read_text()) for file in (ROOT / "docs/results/ten_lines").rglob("*.json")]
    assert records and all(
        {"at", "commit", "machine", "versions", "cpu_seconds"} <= record.keys() for record in records
    )
