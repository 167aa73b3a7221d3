"""What the kept runs say beside the paper: verdicts, wanted values, exit code, statistics over tasks, the page."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.recipes.runs import RECIPES, ROOT
from torchrl_htrpo.records import read_table
from torchrl_htrpo.records.tables import write_table

PAPER = RECIPES / "paper"
PAPER_ROW = {"task": "Task", "system": "HTRPO", "data": "task/htrpo", "paper": 0.85, "spread": 0.04, "of": 1000}


@pytest.fixture(autouse=True)
def beside(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(PAPER))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def curve(*success: float, last: float = 0.0, episodes: int | None = None, step: int = 500) -> dict:
    """An evaluation every 500 steps."""
    table = {"eval/success": [(step * (index + 1), value) for index, value in enumerate(success)]}
    table["eval/success_last"] = [(at, last) for at, _ in table["eval/success"]]
    if episodes:
        table["eval/episodes"] = [(at, float(episodes)) for at, _ in table["eval/success"]]
    return table


def compared(*tables: dict, finished: bool = True, **row: object):
    data = module("data")
    runs = [data.Kept(table, data.Record(finished=finished)) for table in tables]
    return module("verdicts").compare(OmegaConf.create(PAPER_ROW | row), runs)


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((), "not run"),
        ((0.85,), "matches"),
        ((0.82, 0.86, 0.88), "matches"),
        ((0.95, 0.97, 0.96), "better"),
        ((0.95, 0.97, 0.86), "matches"),  # its interval begins below
        ((0.5, 0.6, 0.7), "worse"),
    ],
)
def test_the_verdict_compares_the_interval_with_the_papers_value_and_its_spread(ends, verdict):
    assert compared(*(curve(0.1, end) for end in ends)).verdict == verdict


def test_a_worse_run_that_is_shorter_than_the_papers_says_so_and_one_that_goes_on_too():
    found = compared(curve(0.1, 0.2), of=2_000_000, finished=False)
    assert found.verdict == "worse (paper: 2 M steps)" and found.steps == "1 k so far"


def test_one_seed_has_the_interval_of_its_episodes_if_their_number_is_known():
    low, high = module("torchrl_htrpo.evaluation").success_interval(170, 200)
    assert compared(curve(0.85, episodes=200)).end == f"0.850 [{low:.3f}, {high:.3f}]"
    assert compared(curve(0.85)).end == "0.850"
    assert compared(curve(0.1, 0.8, episodes=200)).verdict == "matches"
    assert compared(curve(0.1, 0.8)).verdict == "worse"


@pytest.mark.parametrize(
    ("wanted", "met"),
    [
        ({"end": 0.9}, True),
        ({"end": 0.95}, False),
        ({"end": 0.9, "seeds": 4}, False),
        ({"end": 0.9, "within": 999}, False),  # at 500 they were at 0.5
        ({"end": 0.3, "metric": "last"}, True),
        ({"end": 0.5, "metric": "last"}, False),
        ({"first": 0.9, "within": 1000}, True),
        ({"first": 0.9, "within": 999}, False),
        ({"first": 0.92, "within": 1000, "seeds": 3}, False),
        ({"first": 0.92, "within": 1000, "seeds": 3, "of_seeds": 2}, True),
        ({"first": 0.92, "within": 1000, "seeds": 5, "of_seeds": 2}, False),
    ],
)
def test_a_wanted_value_is_met_at_the_end_or_early_enough_on_enough_seeds(wanted, met):
    found = compared(*(curve(0.5, end, last=0.4) for end in (0.91, 0.92, 0.93)), wanted=[wanted])
    assert [goal.met for goal in found.goals] == [met]
    assert ("missed" if met else found.goals[0].text) not in module("verdicts").missed([found])
    assert len(module("verdicts").missed([found])) == (0 if met else 1)


def test_nothing_is_met_by_runs_that_are_not_there():
    (goal,) = compared(wanted=[{"end": 0.0}]).goals
    assert not goal.met


@pytest.mark.parametrize(("end", "code"), [(0.9, 0), (0.5, 1)])
def test_the_command_fails_where_a_wanted_value_is_missed(end, code, tmp_path, monkeypatch, capsys):
    write_table(curve(0.1, end), _place(tmp_path / "task" / "htrpo" / "seed_0.csv"))
    row = PAPER_ROW | {"wanted": [{"end": 0.85}]}
    check = module("check")
    monkeypatch.setattr(check, "configuration", lambda: OmegaConf.create({"rows": [row]}))
    monkeypatch.setattr(sys, "argv", ["check.py", str(tmp_path)])
    assert check.main() == code
    said = capsys.readouterr().out
    assert f"| Task | HTRPO | 0.85 ± 0.04 | {end:.3f} |" in said
    assert ("missed: Task, HTRPO: 0.85 at the end" in said) is bool(code)


def _place(file: Path) -> Path:
    file.parent.mkdir(parents=True)
    return file


def test_every_number_of_the_paper_belongs_to_a_task_and_none_is_given_twice():
    cfg = module("check").configuration()
    places = [row.data for row in cfg.rows]
    assert len(set(places)) == len(places) and {place.split("/")[0] for place in places} <= set(cfg.tasks)
    for row in cfg.rows:
        for wanted in row.get("wanted", []):
            assert ("end" in wanted) != ("first" in wanted)
            assert set(wanted) <= {"end", "first", "within", "metric", "seeds", "of_seeds"}


def test_the_interquartile_mean_leaves_out_a_quarter_on_either_side():
    stats = module("stats")
    scores = np.array([[0.0, 0.5], [0.2, 0.6], [0.4, 0.7], [0.6, 5.0]])
    assert stats.iqm_of_tasks(scores).value == pytest.approx(np.mean([0.4, 0.5, 0.6, 0.6]))
    of_seeds = stats.iqm_of_seeds(scores)
    np.testing.assert_allclose(of_seeds.value, [0.3, 0.65])
    assert (of_seeds.low >= scores.min(0)).all() and (of_seeds.high <= scores.max(0)).all()


def test_improvement_counts_pairs_and_a_profile_counts_runs():
    stats = module("stats")
    ours, theirs = np.array([[0.9], [0.8], [0.3]]), np.array([[0.5], [0.4], [0.3]])
    assert stats.improvement(ours, theirs).value == pytest.approx((3 + 3 + 0.5) / 9)
    np.testing.assert_allclose(stats.profile(ours, np.array([0.0, 0.5, 0.85])).value, [1, 2 / 3, 1 / 3])


def test_statistics_are_the_same_each_time_and_leave_numpys_generator_alone():
    stats, values = module("stats"), np.random.default_rng(0).random((5, 3))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(stats.iqm_of_seeds(values), stats.iqm_of_seeds(values))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_publishing_takes_runs_and_kept_runs_and_leaves_out_shorter_ones(tmp_path, capsys):
    data, results = module("data"), module("results")
    full = write_table(
        curve(0.1, 0.5, 0.9) | {"critic/loss": [(500, 1.0)]}, _place(tmp_path / "runs/t/s/seed_3/metrics.csv")
    )
    (full.parent / "settings.json").write_text('["htrpo", "seed=3"]')
    assert list(results.add_runs(tmp_path / "runs", tmp_path / "data")) == [("t", "s")]
    (kept,) = data.kept_runs(tmp_path / "data", "t", "s")
    assert set(kept.table) == {"eval/success", "eval/success_last"} and kept.steps == 1500
    assert kept.record == data.Record(finished=False, settings=["htrpo", "seed=3"])

    write_table(curve(0.1), _place(tmp_path / "short/t/s/seed_3.csv"))
    assert not list(results.add_runs(tmp_path / "short", tmp_path / "data"))
    assert "left out" in capsys.readouterr().out
    write_table(curve(0.1, 0.2, 0.3, 0.4), _place(tmp_path / "long/t/s/seed_3.csv"))
    assert list(results.add_runs(tmp_path / "long", tmp_path / "data", commit="abc")) == [("t", "s")]
    assert data.kept_runs(tmp_path / "data", "t", "s")[0].record == data.Record(commits=["abc"])
    assert len(read_table(tmp_path / "data/t/s/seed_3.csv")["eval/success"]) == 4


@pytest.mark.slow
def test_the_page_and_the_readme_say_what_the_committed_runs_say():
    page, cfg, results = module("page"), module("check").configuration(), ROOT / "docs" / "results"
    found = page.tables(cfg, results / "data")
    written = {name: (results / "tables" / f"{name}.md").read_text() for name in found}
    assert written == found
    readme = (ROOT / "README.md").read_text()
    assert page.front(cfg, results / "data") in readme and page.with_front(readme, cfg, results / "data") == readme


def test_every_table_and_picture_of_the_page_is_there():
    results = ROOT / "docs" / "results"
    text = (results / "index.md").read_text()
    named = re.findall(r"\{include\} (\S+)|!\[[^]]*\]\((\S+?)\)", text)
    missing = [one or other for one, other in named if not (results / (one or other)).exists()]
    assert named and not missing
