"""Metrics are written to files and read back unchanged."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchrl.record.loggers import get_logger

from torchrl_htrpo.records import read_scalars, read_table, write_table
from torchrl_htrpo.records.tables import check_name, forget_after

NUMBERS = st.floats(allow_nan=False)
COLUMNS = st.dictionaries(st.integers(0, 10**9), NUMBERS, min_size=1, max_size=5)
TABLES = st.dictionaries(st.sampled_from(["eval/success", "time/collect", "step/gain"]), COLUMNS, max_size=3)


@pytest.fixture
def scalars(tmp_path) -> Path:
    """What TorchRL's logger leaves of two metrics, one of them on every second step only."""
    logger = get_logger("csv", str(tmp_path), "logs")
    for step in (10, 20, 30, 40):
        logger.log_scalar("critic/loss", step / 8, step=step)
        if step % 20 == 0:
            logger.log_scalar("eval/success", step / 100, step=step)
    return tmp_path / "logs" / "scalars"


def test_what_the_logger_wrote_is_read_back(scalars):
    assert read_scalars(scalars) == {
        "critic/loss": [(10, 1.25), (20, 2.5), (30, 3.75), (40, 5.0)],
        "eval/success": [(20, 0.2), (40, 0.4)],
    }


@given(TABLES)
def test_a_table_is_read_back_bit_for_bit(tmp_path, columns):
    table = {name: sorted(column.items()) for name, column in columns.items()}
    assert read_table(write_table(table, tmp_path / "metrics.csv")) == table


def test_a_table_has_one_row_for_each_step_and_empty_cells_where_nothing_was_logged(scalars, tmp_path):
    file = write_table(read_scalars(scalars), tmp_path / "metrics.csv")
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["step"] for row in rows] == ["10", "20", "30", "40"]
    assert [row["eval/success"] for row in rows] == ["", "0.2", "", "0.4"]


def test_writing_a_table_replaces_the_file_and_leaves_no_other(tmp_path):
    for value in (1.0, 2.0):
        write_table({"a": [(1, value)]}, tmp_path / "metrics.csv")
    assert read_table(tmp_path / "metrics.csv") == {"a": [(1, 2.0)]}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_rows_after_a_step_are_forgotten_and_the_others_stay_as_they_are(scalars):
    before = {path: path.read_text().splitlines()[:3] for path in scalars.rglob("*.csv")}
    forget_after(scalars, 30)
    assert read_scalars(scalars) == {"critic/loss": [(10, 1.25), (20, 2.5), (30, 3.75)], "eval/success": [(20, 0.2)]}
    assert (scalars / "critic" / "loss.csv").read_text().splitlines() == before[scalars / "critic" / "loss.csv"]


def test_a_row_that_a_kill_cut_short_is_forgotten(scalars):
    for torn in ("5", "50,0.", "20,9.9"):  # the last could pass for a complete row of an early step
        with (scalars / "critic" / "loss.csv").open("a") as file:
            file.write(torn)
        forget_after(scalars, 40)
        assert read_scalars(scalars)["critic/loss"] == [(10, 1.25), (20, 2.5), (30, 3.75), (40, 5.0)]


def test_logging_continues_after_dropped_rows_without_gaps_or_duplicates(scalars):
    forget_after(scalars, 30)
    logger = get_logger("csv", str(scalars.parents[1]), "logs")
    logger.log_scalar("critic/loss", 7.0, step=40)
    assert [step for step, _ in read_scalars(scalars)["critic/loss"]] == [10, 20, 30, 40]


@pytest.mark.parametrize(
    "name", ["../gone", "a/../../gone", "/tmp/gone", "a//b", "", ".", ".hidden", "a/.b", "a\\..\\b"]
)
def test_a_name_that_leaves_the_folder_is_refused(name):
    with pytest.raises(ValueError, match="Run: name must be of parts joined by '/'"):
        check_name(name)


@pytest.mark.parametrize("name", ["success", "eval/success", "policy/scale[0]", "step/kl..old", "time/collect 2"])
def test_ordinary_names_are_accepted(name):
    check_name(name)


def test_what_the_logger_did_not_write_is_neither_read_nor_changed(scalars):
    before = read_scalars(scalars)
    foreign = {
        "notes.csv": b"step,value\n1,2\n",
        "binary.csv": b"\x00\xff\n",
        "wide.csv": b"1,2,3\n",
        ".hidden.csv": b"50,1\n",
        "critic/._loss.csv": b"\x00\x05",
    }
    for name, content in foreign.items():
        (scalars / name).write_bytes(content)
    (scalars / "folder.csv").mkdir()
    (scalars / "link.csv").symlink_to(scalars / "notes.csv")
    (scalars / "nowhere.csv").symlink_to(scalars / "gone")
    forget_after(scalars, 40)
    assert read_scalars(scalars) == before
    assert {name: (scalars / name).read_bytes() for name in foreign} == foreign
