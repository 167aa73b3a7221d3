"""compare_sb3.py without stable-baselines3: when it evaluates and stops, and what it writes."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks/compare_sb3.py"


@pytest.fixture
def script():
    pytest.importorskip("mujoco")
    spec = importlib.util.spec_from_file_location("compare_sb3", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def record(script, monkeypatch, tmp_path):
    """A record of examinations that find more and more success; a step of training takes a second, each of them ten."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(script.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(script.time, "process_time", lambda: clock.now)

    def make(seconds, target):
        def examine():
            clock.now += 10
            examine.found += 0.25
            return SimpleNamespace(success=examine.found)

        examine.found = 0.0
        made = script.Record(examine, Namespace(seconds=seconds, target=target, every=3.0, output=tmp_path / "sb3.csv"))
        goes_on, steps = True, 0
        while goes_on:
            clock.now, steps = clock.now + 1, steps + 1
            goes_on = made.after_step({"self": SimpleNamespace(num_timesteps=steps)}, {})
        return made.rows, (tmp_path / "sb3.csv").read_text().splitlines()

    return make


def test_it_stops_at_its_target_and_counts_no_examination(record):
    rows, lines = record(seconds=100, target=0.5)
    assert rows == [(3, 3.0, 3.0, 0.25), (6, 6.0, 6.0, 0.5)]
    assert lines == ["step,seconds,cpu_seconds,eval/success", "3,3.0,3.0,0.25", "6,6.0,6.0,0.5"]


def test_it_stops_when_its_time_is_over_and_examines_then(record):
    rows, _ = record(seconds=8, target=2.0)
    assert [row[:2] for row in rows] == [(3, 3.0), (6, 6.0), (8, 8.0)]


def test_without_stable_baselines3_it_says_how_to_get_it(script, monkeypatch):
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install stable-baselines3"):
        script.require_sb3()
