"""The entries of the paper: what they expand to, what is run again and what is not, what is said of several seeds."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests.recipes.runs import CONF, RECIPES, ROOT, TINY, check, run
from torchrl_htrpo.recipes.command import register_tasks
from torchrl_htrpo.records import read_table
from torchrl_htrpo.records.tables import write_table

PAPER = RECIPES / "paper"
ENTRIES = sorted(file.stem for file in (PAPER / "config" / "entry").glob("*.yaml"))


@pytest.fixture(autouse=True)
def beside(monkeypatch) -> None:
    """The files find each other by their folder, as when they are run."""
    monkeypatch.syspath_prepend(str(PAPER))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def entry(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(PAPER / "config"), version_base="1.3"):
        return compose("reproduce", list(overrides))


def jobs(*overrides: str) -> list:
    return list(module("jobs").jobs_of(entry(*overrides)))


@pytest.mark.parametrize("name", ENTRIES)
def test_every_run_of_every_entry_is_a_configuration_that_its_recipe_takes(name):
    found = jobs(f"entry={name}", "seeds=1")
    assert found and len({job.folder for job in found}) == len(found)
    register_tasks()
    for recipe, overrides in {(job.recipe, job.overrides) for job in found}:
        with initialize_config_dir(str(CONF / recipe), version_base="1.3"):
            check(recipe, compose(recipe, list(overrides)))


def test_a_run_of_two_entries_is_the_same_run():
    settings = {}
    for name in ENTRIES:
        for job in jobs(f"entry={name}", "seeds=1"):
            assert settings.setdefault(job.folder, job.settings) == job.settings
    assert len(settings) > 20


def test_an_entry_expands_to_tasks_systems_and_seeds_the_first_seed_of_all_first():
    found = jobs("entry=figure_9", "seeds=2", "first_seed=3", "only_tasks=[bits_16_vtrace]", "steps=7")
    systems = list(entry("entry=figure_9").entry.runs.bits_16_vtrace)
    assert [(job.seed, job.system) for job in found] == [(seed, system) for seed in (3, 4) for system in systems]
    assert found[1].settings == [
        "htrpo", "task=bitflip", "env.num_bits=16", "advantage=goal_vtrace", "critic.updates=20",
        "head.uniform_share=0.0", "system=htrpo_no_qkl", "total_steps=7", "seed=3",
    ]  # fmt: skip


def test_only_what_is_asked_for_is_run():
    found = jobs("entry=figure_3", "seeds=1", "only_tasks=[fetch_push]", "only_systems=[trpo,hpg]")
    assert [(job.task, job.system) for job in found] == [("fetch_push", "hpg"), ("fetch_push", "trpo")]


def test_a_system_with_several_processes_is_started_by_torchrun():
    one, two = jobs("entry=processes", "seeds=1", "only_tasks=[bits_16]")
    assert two.settings == [*one.settings, "processes=2"] and not one.launcher
    assert two.launcher == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def test_every_number_of_the_paper_stands_beside_a_run_of_its_entry():
    for name in ENTRIES:
        cfg = entry(f"entry={name}").entry
        for task, systems in (cfg.get("paper") or {}).items():
            assert set(systems) <= set(cfg.runs[task]), (name, task)


@pytest.fixture
def tiny(tmp_path):
    """The overrides of an entry of two tiny runs."""
    more = ",".join(f'"{option}"' for option in TINY["htrpo_bitflip"] if not option.startswith("env.num_bits"))
    return [
        "entry=figure_4", "only_tasks=[bits_4]", "only_systems=[htrpo]", "seeds=2", "steps=128", "jobs=2",
        f"overrides=[{more}]", f"runs={tmp_path / 'runs'}", f"results={tmp_path / 'results'}",
    ]  # fmt: skip


@pytest.mark.slow
def test_runs_are_made_once_and_broken_ones_go_on(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = jobs(*tiny)
    assert module("runner").Runner(at_once=2)(found) == 0
    first = capsys.readouterr().out
    assert first.count("done: bits_4, htrpo, seed") == 2 and "RESULT success=" in first

    (found[0].folder / "finished.json").unlink()  # as if killed after its last iteration
    done = run("paper/reproduce", *tiny, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("done before") == 1
    starts = json.loads((found[0].folder / "run.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 128]
    kept = sorted((tmp_path / "results" / "data").rglob("*.csv"))
    assert [file.name for file in kept] == ["seed_0.csv", "seed_1.csv"]
    record = module("data").Record.read(kept[0].with_suffix(".json"))
    assert record.finished and record.settings == found[0].settings and len(record.commits) == 1
    assert found[0].done_elsewhere(tmp_path / "results" / "data")
    assert (tmp_path / "results" / "figure_4.png").stat().st_size > 5000
    table = (tmp_path / "results" / "tables" / "figure_4.md").read_text()
    assert "| bits_4 | htrpo | 2 | 0.128 k |" in table and "| bits_100 | htrpo | not run |" in table


def test_a_run_that_fails_is_named_and_not_kept(tiny, capsys):
    (job,) = [job for job in jobs(*tiny, "overrides=['gamma=7']") if job.seed == 0]
    assert module("runner").Runner(at_once=1)([job]) == 1
    assert "FAILED bits_4, htrpo, seed 0" in capsys.readouterr().out
    assert not job.done and "gamma must be" in (job.folder / "output.txt").read_text()


def test_a_run_with_other_settings_is_not_done(tiny):
    (job, *_), (other, *_) = jobs(*tiny), jobs(*tiny, "steps=256")
    job.folder.mkdir(parents=True)
    (job.folder / "finished.json").write_text(json.dumps(job.settings))
    assert job.done and other.folder == job.folder and not other.done


TABLE = {
    "eval/success": [(100, 0.25), (200, 0.5), (300, 0.95), (400, 0.875)],
    "critic/loss": [(100, 1.0)],
    "time/policy": [(100, 1.0), (200, 2.0)],
    "time/collect": [(100, 0.25), (200, 0.5)],
}


def test_what_is_kept_is_what_is_drawn_with_the_seconds_of_all_phases(tmp_path):
    kept = module("data").keep
    kept(write_table(TABLE, tmp_path / "full.csv"), tmp_path / "a" / "short.csv")
    short = read_table(tmp_path / "a" / "short.csv")
    assert short == {"eval/success": TABLE["eval/success"], "seconds": [(100, 1.25), (200, 2.5)]}
    kept(tmp_path / "a" / "short.csv", tmp_path / "again.csv")
    assert read_table(tmp_path / "again.csv") == short


def test_a_summary_says_where_seeds_end_and_when_they_got_there():
    tables = [{"eval/success": [(100, 0.1), (200, last)], "seconds": [(200, 30.0)]} for last in (0.5, 0.7, 0.9, 1.0)]
    del tables[1]["seconds"]  # of which nobody knows how long it took
    found = module("tables").summary([module("data").Kept(table) for table in tables])
    assert (found.seeds, found.steps, found.seconds, found.unfinished) == (4, (200, 200), 30.0, False)
    value, low, high = found.end
    assert value == pytest.approx(0.8) and 0.5 <= low < 0.8 < high <= 1.0  # the mean of the middle half
    assert math.isnan(found.last[0])  # not measured
    assert found.to_half == [200.0] * 4 and found.to_most == [math.inf, math.inf, 200.0, 200.0]


@pytest.mark.parametrize(("ends", "shown"), [((599_040, 999_040), "599 to 999 k"), ((1500, 1500), "1.5 k")])
@pytest.mark.parametrize("finished", [True, False])
def test_the_table_says_how_long_the_runs_are_and_whether_they_go_on(ends, shown, finished):
    data, tables = module("data"), module("tables")
    runs = [data.Kept({"eval/success": [(end, 1.0)]}, data.Record(finished=finished)) for end in ends]
    assert tables.summary(runs).steps == ends
    assert f"| 2 | {shown}{'' if finished else ' so far'} |" in tables.row("task", "system", runs, "")


def test_returns_are_judged_by_the_last_tenth():
    table = {"train/episode_return": [(step, float(step)) for step in range(10, 1010, 10)]}
    assert module("data").Kept(table).end() == pytest.approx(np.mean(range(900, 1010, 10)))


def test_curves_of_different_lengths_meet_on_one_grid_and_keep_their_last_value():
    data = module("data")
    tables = [{"m": [(0, 0.0), (100, 1.0)]}, {"m": [(0, 0.0), (200, 1.0)]}]
    grid, values = data.on_grid(tables, "m", points=5)
    assert grid.tolist() == [0, 50, 100, 150, 200]
    assert values.tolist() == [[0, 0.5, 1, 1, 1], [0, 0.25, 0.5, 0.75, 1]]


@pytest.mark.parametrize("name", ENTRIES)
def test_the_tables_of_the_results_are_those_of_their_data(name):
    tables, cfg, results = module("tables"), entry(f"entry={name}"), ROOT / "docs" / "results"
    runs = tables.runs_of(cfg.entry, results / "data")
    written = results / "tables" / f"{cfg.entry.name}.md"
    assert written.exists() == bool(runs)
    if runs:
        assert written.read_text() == tables.table_of(cfg, cfg.entry, runs)


def test_all_kept_data_belong_to_an_entry():
    named = {Path(task, system) for name in ENTRIES for task, systems in entry(f"entry={name}").entry.runs.items()
             for system in systems}  # fmt: skip
    data = ROOT / "docs" / "results" / "data"
    assert {folder.relative_to(data) for folder in data.glob("*/*")} <= named
