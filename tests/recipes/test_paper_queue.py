"""The list by value, the budget of time, and unfinished runs that go on elsewhere, bit for bit."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType

import pytest
from hydra import compose, initialize_config_dir

from tests.recipes.runs import RECIPES, ROOT, TINY, assert_same, environment

PAPER = RECIPES / "paper"


@pytest.fixture(autouse=True)
def beside(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(PAPER))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def config(*overrides: str):
    with initialize_config_dir(str(PAPER / "config"), version_base="1.3"):
        return compose("reproduce", list(overrides))


def jobs(*overrides: str) -> list:
    return list(module("jobs").jobs_of(config(*overrides)))


def tiny(steps: int, *more: str) -> list[str]:
    options = ",".join(f'"{option}"' for option in TINY["htrpo_bitflip"] if not option.startswith("env.num_bits"))
    return ["only_tasks=[bits_4]", "only_systems=[htrpo]", "seeds=1", f"steps={steps}", f"overrides=[{options}]", *more]


def test_the_list_by_value_is_run_in_its_order_with_the_settings_of_its_entries():
    cfg = config("by_value=true")
    listed = jobs("by_value=true")
    assert [(job.task, job.system, job.seed) for job in listed] == [
        (row.task, row.system, seed) for row in cfg.order for seed in row.seeds
    ]
    for row in cfg.order:
        (same,) = jobs(f"entry={row.entry}", f"only_tasks=[{row.task}]", f"only_systems=[{row.system}]", "seeds=1")
        assert same.settings in [job.settings for job in listed] or 0 not in row.seeds
    assert [entry.name for entry in module("jobs").entries_of(cfg)] == list(
        dict.fromkeys(row.entry for row in cfg.order)
    )


def test_a_run_may_end_at_the_value_of_the_paper_and_is_the_same_run():
    listed = jobs("by_value=true", "only_tasks=[fetch_slide]", "only_systems=[htrpo]", "stop_at_paper=true")
    assert listed[0].ending == ("target_success=0.85", "target_evaluations=3")
    (first, _) = jobs("by_value=true", "only_tasks=[fetch_slide]", "only_systems=[htrpo]")
    assert listed[0].settings == first.settings


@pytest.fixture
def started(tmp_path):
    """A run that is long enough to be stopped, in a process of its own."""
    command = [
        sys.executable, "-W", "ignore", str(PAPER / "reproduce.py"), "entry=figure_4", "jobs=1", "keep=kept",
        "runs=runs", "results=results", *tiny(1_000_000),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def wait_for(pattern: str, folder: Path, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert time.monotonic() < until, f"no {pattern}"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_stopped_here_goes_on_elsewhere_and_is_the_run_that_was_never_stopped(started, tmp_path):
    seed = Path("bits_4/htrpo/seed_0")
    wait_for(f"runs/{seed}/checkpoints/checkpoint-*", tmp_path)
    started.send_signal(signal.SIGTERM)
    said, _ = started.communicate(timeout=120)
    assert started.returncode == 3 and "stopped: bits_4, htrpo, seed 0" in said  # work is left
    archive = tmp_path / "kept" / seed.with_suffix(".tar.xz")
    assert archive.stat().st_size < 3 * 2**20
    record = json.loads((tmp_path / "results" / "data" / seed.with_suffix(".json")).read_text())
    assert not record["finished"]
    assert "k so far |" in (tmp_path / "results" / "tables" / "figure_4.md").read_text()

    there = tmp_path / "another_machine"
    shutil.copytree(tmp_path / "kept", there / "kept")
    stopped_at = json.loads((tmp_path / "runs" / seed / "run.json").read_text())["starts"]
    assert [start["step"] for start in stopped_at] == [0]
    steps = _steps(tmp_path / "runs" / seed) + 256
    (moved,) = jobs("entry=figure_4", *tiny(steps, f"runs={there / 'runs'}"))
    assert module("runner").Runner(at_once=1, archives=there / "kept")([moved]) == 0
    starts = json.loads((there / "runs" / seed / "run.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, steps - 256]

    (whole,) = jobs("entry=figure_4", *tiny(steps, f"runs={tmp_path / 'whole'}"))
    assert module("runner").Runner(at_once=1)([whole]) == 0
    assert_same(whole.folder, moved.folder)


def _steps(folder: Path) -> int:
    from torchrl_htrpo.records.checkpoints import stored_checkpoints

    return int(stored_checkpoints(folder)[-1].name.partition("-")[2])


@pytest.mark.slow
def test_when_the_time_is_over_runs_stop_and_the_rest_is_left(tmp_path, capsys):
    found = jobs("entry=figure_4", *tiny(1_000_000, f"runs={tmp_path}"))
    more = jobs("entry=figure_4", *tiny(1_000_000, f"runs={tmp_path}", "first_seed=1"))
    runner = module("runner").Runner(at_once=1, minutes=0.1)
    assert runner([*found, *more]) == 3
    assert {job.seed for job in runner.left} == {0, 1} and not found[0].done
    assert "stopped: bits_4, htrpo, seed 0" in capsys.readouterr().out and not more[0].folder.exists()


@pytest.mark.parametrize(("code", "exits", "said"), [(143, 3, "stopped"), (130, 3, "stopped"), (1, 1, "FAILED")])
def test_a_run_that_a_signal_stopped_directly_is_left_and_not_failed(code, exits, said, tmp_path, monkeypatch, capsys):
    found = jobs("entry=figure_4", *tiny(128, f"runs={tmp_path}"))
    ended = [sys.executable, "-c", f"raise SystemExit({code})"]
    monkeypatch.setattr(module("jobs").Job, "start", lambda *_: subprocess.Popen(ended))
    assert module("runner").Runner(at_once=1)(found) == exits
    assert capsys.readouterr().out.startswith(said)


def test_what_was_finished_elsewhere_is_not_run_again(tmp_path):
    data, (job,) = module("data"), jobs("entry=figure_4", *tiny(128, f"runs={tmp_path / 'runs'}"))
    file = data.place_of(tmp_path, job.task, job.system, job.seed).with_suffix(".json")
    file.parent.mkdir(parents=True)
    assert not job.done_elsewhere(tmp_path)
    for finished in (True, False):
        data.Record(finished, job.settings).write(file)
        assert job.done_elsewhere(tmp_path) is finished
    data.Record(True, [*job.settings, "gamma=0.5"]).write(file)
    assert not job.done_elsewhere(tmp_path)


def test_an_archive_does_not_replace_a_newer_checkpoint_and_one_that_is_too_large_is_not_written(tmp_path, monkeypatch):
    kept = module("kept")
    run = tmp_path / "run"
    assert kept.keep_run(run, tmp_path / "a.tar.xz") == "there is no checkpoint yet"
    _checkpoint(run, 64)
    assert kept.keep_run(run, tmp_path / "a.tar.xz") is None
    assert kept.restore_run(tmp_path / "a.tar.xz", tmp_path / "other")
    assert (tmp_path / "other" / "logs" / "scalars" / "a.csv").read_text() == "1,2.0\n"
    assert not kept.restore_run(tmp_path / "a.tar.xz", tmp_path / "other")  # as new
    (tmp_path / "file").touch()
    assert "File exists" in kept.keep_run(run, tmp_path / "file" / "b.tar.xz")  # no error: other runs go on
    monkeypatch.setattr(kept, "LIMIT", 100)
    assert "are more than" in kept.keep_run(run, tmp_path / "b.tar.xz") and not (tmp_path / "b.tar.xz").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another file", "without a checkpoint", "leads outside"])
def test_a_damaged_archive_is_named_and_changes_nothing(damage, tmp_path):
    kept, archive = module("kept"), tmp_path / "a.tar.xz"
    _checkpoint(tmp_path / "run", 64)
    assert kept.keep_run(tmp_path / "run", archive) is None
    content, other = archive.read_bytes(), io.BytesIO()
    with tarfile.open(fileobj=other, mode="w:xz") as files:
        files.add(tmp_path / "run" / "run.json", "../outside" if damage == "leads outside" else "run.json")
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    told = {"cut": content[:middle], "flipped": flipped, "empty": b"", "another file": b"PK"}
    archive.write_bytes(told.get(damage, other.getvalue()))
    with pytest.raises(ValueError, match=r"restore_run: .*a.tar.xz must be an archive as it was written \(remove it"):
        kept.restore_run(archive, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir()) and not (tmp_path / "outside").exists()


def test_a_damaged_archive_stops_no_other_run(tmp_path, capsys):
    found = jobs("entry=figure_4", *tiny(128, f"runs={tmp_path}"))
    archive = found[0].archive(tmp_path / "kept")
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"damaged")
    runner = module("runner").Runner(at_once=1, archives=tmp_path / "kept")
    assert runner(found) == 1 and runner.failed == found
    assert "must be an archive as it was written" in capsys.readouterr().out


def test_a_restore_that_was_cut_short_is_done_again(tmp_path, monkeypatch):
    kept, archive, folder = module("kept"), tmp_path / "a.tar.xz", tmp_path / "other"
    _checkpoint(tmp_path / "run", 64)
    assert kept.keep_run(tmp_path / "run", archive) is None
    for step in ("extractall", "rename", "replace"):
        owner = tarfile.TarFile if step == "extractall" else Path
        with monkeypatch.context() as killed:
            killed.setattr(owner, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                kept.restore_run(archive, folder)
        assert not list(folder.glob("checkpoints/*"))
    assert kept.restore_run(archive, folder)
    assert (folder / "logs" / "scalars" / "a.csv").read_text() == "1,2.0\n"


def _checkpoint(run: Path, step: int) -> None:
    from torchrl_htrpo.records.checkpoints import checkpoints_of
    from torchrl_htrpo.records.sealed import SealedCheckpoint

    checkpoints_of(run).save(SealedCheckpoint(progress={"steps": step}), step=step, metadata={"success": 0.0})
    (run / "logs" / "scalars").mkdir(parents=True, exist_ok=True)
    (run / "logs" / "scalars" / "a.csv").write_text("1,2.0\n")
    (run / "run.json").write_text("{}")
