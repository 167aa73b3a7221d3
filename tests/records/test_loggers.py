"""Loggers that cannot work are refused; a video arrives where it can be seen."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.records.loggers import BACKENDS, check_backend, log_video, make_loggers

FRAMES = torch.randint(255, (4, 3, 16, 16), dtype=torch.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_csv_logger_is_always_the_first(backend, tmp_path, monkeypatch):
    backend == "csv" or pytest.importorskip(backend)
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers = make_loggers(tmp_path, "run", backend)
    names = [type(logger).__name__ for logger in loggers]
    loggers[-1].close()
    assert names[0] == "CSVLogger" and [name.lower() for name in names[1:]] == [f"{backend}logger"] * (backend != "csv")


def test_an_unknown_logger_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"Me: logger must be .*got 'foo' \(choices: 'csv', 'tensorboard', 'wandb'\)"):
        check_backend("Me", "foo")


def test_tensorboard_shows_a_video_as_a_moving_picture(tmp_path):
    pytest.importorskip("moviepy")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loggers = make_loggers(tmp_path, "run", "tensorboard")
    log_video(loggers, "eval/policy", FRAMES, 500, 25)
    loggers[1].close()
    events = accumulator.EventAccumulator(str(tmp_path / "run")).Reload()
    (picture,) = events.Images("eval/policy")
    assert picture.step == 500 and picture.encoded_image_string.startswith(b"GIF8")


def test_wandb_gets_a_video(tmp_path, monkeypatch):
    pytest.importorskip("moviepy")
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    loggers = make_loggers(tmp_path, "run", "wandb")
    log_video(loggers, "eval/policy", FRAMES, 500, 25)
    loggers[1].close()
    (video,) = tmp_path.rglob("policy_*.gif")
    assert video.read_bytes().startswith(b"GIF8")


def test_the_table_needs_no_video(tmp_path):
    log_video(make_loggers(tmp_path, "run", "csv"), "eval/policy", FRAMES, 500, 25)
    assert not list(tmp_path.rglob("*policy*"))
