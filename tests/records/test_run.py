"""The record of a run: what is where, and what a second start makes of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from torchrl_htrpo.records import Run, read_scalars, read_table

EXAMINED = {"eval/success": 0.5, "eval/success_low": 0.4, "eval/success_high": 0.6, "eval/episodes": 8.0}


@pytest.fixture
def net():
    return torch.nn.Linear(2, 1)


@pytest.fixture
def opened(tmp_path, net):
    """Open the run; the process of the one before has ended."""
    made = []

    def make(**kwargs) -> Run:
        for run in made:
            run.close()
        kwargs = {"config": {"gamma": 0.9}, **kwargs}
        made.append(Run(tmp_path, 100, name="test", components={"net": net}, **kwargs))
        return made[-1]

    return make


def iterate(run: Run, *steps: int, success: float = 0.5) -> None:
    for step in steps:
        run.log(step, EXAMINED | {"eval/success": success})
        run.save()


def test_a_run_leaves_checkpoints_metrics_a_curve_and_where_it_comes_from(opened, tmp_path):
    with opened() as run:
        assert run.begin() == 0
        iterate(run, 10, 20, 30)
        run.draw()
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock",
        "checkpoints",
        "learning_curve.png",
        "logs",
        "metrics.csv",
        "run.json",
    }
    assert read_table(tmp_path / "metrics.csv")["eval/success"] == [(10, 0.5), (20, 0.5), (30, 0.5)]
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["config"] == {"gamma": 0.9} and [start["step"] for start in record["starts"]] == [0]


def test_a_run_goes_on_where_its_last_checkpoint_was_written(opened, net, tmp_path):
    run = opened()
    run.begin()
    iterate(run, 10)
    kept, draw = net.weight.clone(), torch.rand(3)
    run.log(20, {"eval/success": 0.9})  # killed before the checkpoint
    with torch.no_grad():
        net.weight.zero_()
    again = opened()
    assert again.restore() == 10 and again.iterations == 1 and again.success == 0.5
    assert torch.equal(net.weight, kept) and torch.equal(torch.rand(3), draw)
    iterate(again, 20)
    scalars = read_scalars(tmp_path / "logs" / "scalars")
    assert all([step for step, _ in rows] == [10, 20] for rows in scalars.values())
    assert scalars["eval/success"] == [(10, 0.5), (20, 0.5)]
    assert [start["step"] for start in json.loads((tmp_path / "run.json").read_text())["starts"]] == [0, 10]


def test_going_on_brings_the_table_up_to_the_checkpoint(opened, tmp_path):
    run = opened()
    run.begin()
    iterate(run, 10)
    run.draw()
    iterate(run, 20)  # killed before it was drawn
    opened().restore()
    assert [step for step, _ in read_table(tmp_path / "metrics.csv")["eval/success"]] == [10, 20]


def test_the_seconds_of_both_halves_are_summed(opened):
    run = opened()
    run.begin()
    iterate(run, 10)
    run.progress["seconds"] = 1000.0
    run.save()
    again = opened()
    again.restore()
    iterate(again, 20)
    assert 1000 <= again.progress["seconds"] < 1060


def test_a_folder_with_checkpoints_is_not_begun_anew(opened):
    run = opened()
    run.begin()
    iterate(run, 10)
    with pytest.raises(FileExistsError, match="Run: directory must be a folder without checkpoints"):
        opened().begin()


def test_rows_of_a_run_killed_in_its_first_iteration_do_not_stay(opened, tmp_path):
    run = opened()
    run.begin()
    run.log(10, EXAMINED)
    again = opened()
    again.begin()
    iterate(again, 10)
    assert read_scalars(tmp_path / "logs" / "scalars")["eval/success"] == [(10, 0.5)]


def test_a_folder_without_checkpoints_cannot_be_gone_on_with(opened):
    with pytest.raises(FileNotFoundError, match="at least one complete iteration"):
        opened().restore()


def test_another_configuration_is_refused_and_nothing_is_loaded(opened, net):
    run = opened()
    run.begin()
    iterate(run, 10)
    with torch.no_grad():
        net.weight.fill_(7.0)
    with pytest.raises(ValueError, match=r"config.gamma: 0.9 there, 0.5 here"):
        opened(config={"gamma": 0.5}).restore()
    assert (net.weight == 7.0).all()


def test_other_versions_are_refused(opened, monkeypatch):
    run = opened()
    run.begin()
    iterate(run, 10)
    monkeypatch.setattr("torchrl.__version__", "0.0.1")
    with pytest.raises(ValueError, match=r"versions.torchrl: .* there, '0.0.1' here"):
        opened().restore()


def test_the_best_examined_iteration_is_kept_beside_the_last_two(opened):
    run = opened()
    run.begin()
    for step, success in ((10, 0.9), (20, 0.2), (30, 0.3)):
        iterate(run, step, success=success)
    run.log(40, {"critic/loss": 1.0})  # not examined: no better than the last examined one, for all we know
    run.save()
    kept = [int(path.name.split("-")[1]) for path in run.rotation.checkpoints()]
    assert kept == [10, 30, 40] and run.rotation.best() == run.rotation.checkpoints()[0]


def test_the_last_line_is_of_the_last_examination(opened):
    run = opened()
    run.begin()
    iterate(run, 10)
    run.log(20, {"critic/loss": 1.0})
    assert run.result().startswith("RESULT success=0.500 episodes=8 env_steps=20 seconds=")


def test_the_success_of_a_run_without_evaluation_is_not_a_number(opened):
    run = opened()
    run.begin()
    run.log(20, {"critic/loss": 1.0})
    assert run.result().startswith("RESULT success=nan episodes=0 env_steps=20 seconds=")


def test_another_logger_gets_what_the_table_gets(opened, tmp_path):
    pytest.importorskip("tensorboard")
    run = opened(backend="tensorboard")
    run.begin()
    iterate(run, 10)
    assert list(tmp_path.rglob("events.out.*"))


def test_the_curve_is_drawn_at_once_then_rarely_and_at_the_end(opened, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "torchrl_htrpo.records.run.plot_run", lambda table, *_: drawn.append(len(table["eval/success"]))
    )
    with opened() as run:
        run.begin()
        for step in (10, 20, 30):
            iterate(run, step)
            run.draw(final=step == 30)
    assert drawn == [1, 3]
    assert len(read_table(tmp_path / "metrics.csv")["eval/success"]) == 3


def test_two_runs_of_a_process_are_two_runs_of_wandb(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("one", "two"):
        with Run(tmp_path / name, 100, name=name, components={}, backend="wandb") as run:
            run.begin()
            run.log(10, EXAMINED)
        assert list((tmp_path / name).rglob("*.wandb"))


def test_an_unknown_logger_is_refused_with_the_choices_before_anything_is_made(opened, tmp_path):
    with pytest.raises(ValueError, match=r"Run: logger must be .*got 'tensorbord' \(choices: 'csv', 'tensorboard'"):
        opened(backend="tensorbord")
    assert not list(tmp_path.iterdir())


def test_a_run_that_has_no_figure_of_its_headline_yet_goes_on_and_ends_without_a_curve(opened, tmp_path):
    with opened(headline="train/episode_return") as run:
        run.begin()
        run.log(10, {"critic/loss": 1.0})
        run.save()
    with opened(headline="train/episode_return") as again:
        assert again.restore() == 10
        again.draw()
    assert (tmp_path / "metrics.csv").exists() and not (tmp_path / "learning_curve.png").exists()


def test_a_second_process_in_the_folder_is_refused_and_the_first_goes_on(tmp_path, net, opened):
    first = opened()
    first.begin()
    iterate(first, 10)
    for start in ("begin", "restore"):
        with pytest.raises(RuntimeError, match="used by one process at a time"):
            getattr(Run(tmp_path, 100, name="test", components={"net": net}, config={"gamma": 0.9}), start)()
    iterate(first, 20)
    assert opened().restore() == 20


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_refused_run_creates_nothing(name, tmp_path, net):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="at least one complete iteration"):
        Run(tmp_path / name, 100, name="test", components={"net": net}).restore()
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_another_configuration_leaves_the_folder_as_it_was(opened, tmp_path):
    run = opened()
    run.begin()
    iterate(run, 10, 20)

    def files() -> dict:  # the lock says which process looked last, and when
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}

    before = files()
    with pytest.raises(ValueError, match="config.gamma"):
        opened(config={"gamma": 0.5}).restore()
    assert files() == before


def test_a_damaged_checkpoint_costs_one_iteration_and_the_run_says_so(opened, net, tmp_path, caplog):
    run = opened()
    run.begin()
    iterate(run, 10)
    kept = net.weight.clone()
    with torch.no_grad():
        net.weight.add_(1)
    iterate(run, 20)
    newest = run.rotation.latest()
    file = next(newest.rglob("tensors.safetensors"))
    file.write_bytes(b"")
    again = opened()
    assert again.restore() == 10 and torch.equal(net.weight, kept)
    iterate(again, 20, 30)
    assert [step for step, _ in read_scalars(tmp_path / "logs" / "scalars")["eval/success"]] == [10, 20, 30]
    aside = newest.with_name("damaged-000000000020") / file.relative_to(newest)
    assert aside.stat().st_size == 0 and again.rotation.latest().name.endswith("30")
    assert caplog.text.count("tensors.safetensors has 0 bytes") == 1


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"starts": 1}', b"\xff", None])
def test_a_torn_record_does_not_keep_a_run_from_going_on(record, opened, tmp_path):
    run = opened()
    run.begin()
    iterate(run, 10)
    path = tmp_path / "run.json"
    path.unlink() if record is None else path.write_bytes(record)
    assert opened().restore() == 10
    assert [start["step"] for start in json.loads(path.read_text())["starts"]] == [10]


@pytest.mark.parametrize("removed", ["logs", "logs/scalars", "."])
def test_removing_the_folder_of_a_running_run_is_an_error(removed, opened, tmp_path):
    run = opened()
    run.begin()
    iterate(run, 10)
    shutil.rmtree(tmp_path / removed)
    with pytest.raises(FileNotFoundError, match=r"scalars was removed while the run was using it"):
        iterate(run, 20)
    assert removed != "." or not tmp_path.exists()


def test_a_run_whose_folder_was_moved_does_not_write_into_the_one_that_took_its_place(net, tmp_path):
    first, other = (Run(tmp_path / "run", 100, name="test", components={"net": net}) for _ in range(2))
    first.begin()
    iterate(first, 10)
    (tmp_path / "run").rename(tmp_path / "old")
    other.begin()
    for act in (lambda: first.log(20, EXAMINED), first.save):
        with pytest.raises(RuntimeError, match="removed or replaced while the run was using the folder"):
            act()
    iterate(other, 30)
    first.close()
    other.close()
    assert [path.name[-2:] for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["30"]


def test_rows_that_were_removed_are_an_error_when_the_table_is_written(opened, tmp_path):
    run = opened()
    run.begin()
    iterate(run, 10)
    for file in (tmp_path / "logs" / "scalars" / "eval").iterdir():
        file.unlink()
    iterate(run, 20)
    with pytest.raises(RuntimeError, match=r"at least 2 rows, one for each iteration since the start, got '?0"):
        run.draw()


def test_metrics_and_names_that_leave_the_folder_are_refused(opened, tmp_path, net):
    run = opened()
    run.begin()
    with pytest.raises(ValueError, match="Run: name must be"):
        run.log(10, {"../../gone": 1.0})
    with pytest.raises(ValueError, match="Run: name must be"):
        Run(tmp_path, 100, name="../gone", components={"net": net})
    assert not list(tmp_path.parent.rglob("gone*"))


def test_logging_before_the_run_began_is_an_error(opened):
    with pytest.raises(RuntimeError, match=r"call begin\(\) or restore\(\)"):
        opened().log(10, EXAMINED)


FILL = """
import sys, torch
from pathlib import Path
from torchrl_htrpo.records import Run
for folder in sorted(Path(sys.argv[1]).iterdir()):
    run = Run(folder / "run", 100, name="test", components={"net": torch.nn.Linear(100, 100)})
    try:
        run.begin()
        for step in range(1, 1000):
            run.log(step, {f"eval/{index}": 0.5 for index in range(8)} | {"eval/success": 0.5})
            run.save()
            run.draw()
    except OSError as error:
        print(folder.name, error)
    run.close()
    saved = Run(folder / "run", 100, name="test", components={"net": torch.nn.Linear(100, 100)})
    for file in (folder / "run").glob("*.png"):
        file.unlink()  # a little room
    try:
        print("restored", saved.restore())
    except (FileNotFoundError, OSError) as error:
        print("not restored", error)
"""


@pytest.mark.slow
def test_a_full_disk_ends_in_a_message_wherever_it_fills_up(tmp_path):
    """On file systems of 14 sizes, in a namespace of its own."""
    sizes = [16 * (index + 1) for index in range(14)]
    mounts = [
        f"mkdir {tmp_path}/{size:04} && mount -t tmpfs -o size={size}k tmpfs {tmp_path}/{size:04}" for size in sizes
    ]
    script = " && ".join([*mounts, f"exec {sys.executable} -c '{FILL}' {tmp_path}"])
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr[-2000:]
    told = [line for line in done.stdout.splitlines() if not line.startswith(("restored", "not restored"))]
    assert len(told) == len(sizes) and all("no room" in line and str(tmp_path) in line for line in told), done.stdout


def test_a_run_knows_what_is_not_saved(opened):
    run = opened()
    run.begin()
    assert not run.unsaved
    run.log(10, EXAMINED)
    assert run.unsaved
    run.save()
    assert not run.unsaved
    again = opened()
    again.restore()
    assert not again.unsaved


def stopped(run: Run, error: type[BaseException] | None = None) -> None:
    """One iteration during which a signal comes."""
    with run:
        run.begin()
        signal.raise_signal(signal.SIGTERM)
        if error is not None:
            raise error
        assert run.stop
        iterate(run, 10)


def test_a_signal_ends_a_run_after_its_iteration_with_the_exit_code_of_a_shell(opened):
    with pytest.raises(SystemExit) as ended:
        stopped(opened())
    assert ended.value.code == 143
    assert opened().restore() == 10


def test_what_fails_because_of_a_signal_ends_with_its_exit_code_too(opened):
    with pytest.raises(SystemExit) as ended:
        stopped(opened(), RuntimeError)
    assert ended.value.code == 143 and isinstance(ended.value.__cause__, RuntimeError)
