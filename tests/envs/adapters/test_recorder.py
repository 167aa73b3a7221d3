"""The last operation of an environment is recorded, also if its process has died."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("gymnasium")

from tests.envs.failing import Walk
from torchrl_htrpo.envs import EnvBatch, EnvFailure
from torchrl_htrpo.envs.adapters.recorder import Record, Recorder, build


def test_the_record_follows_episodes_and_steps(tmp_path):
    assert Recorder.read(tmp_path, 7) == Record(7, "nothing", busy=False, trace="")
    env = build(Walk, tmp_path, 7, timeout=None)
    env.rollout(7, break_when_any_done=False)
    assert Recorder.read(tmp_path, 7) == Record(7, "nothing", busy=False, trace="")
    with env.recorder.during(3):
        assert Recorder.read(tmp_path, 7) == Record(7, "step 2 of episode 2", busy=True, trace="")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"step": 3}, "step 3 of episode 1"),
        ({"step": 0, "episode": 2}, "the reset before episode 2"),
        ({"construction": True}, "its construction"),
    ],
)
def test_what_an_environment_raises_is_named_without_workers_too(settings, where):
    def act(tensordict):
        return tensordict.set("action", torch.zeros(3, 2))

    def run():
        env = EnvBatch([Walk, Walk, lambda: Walk("raises", **settings)], seed=0)
        env.rollout(12, act, break_when_any_done=False)

    with pytest.raises(EnvFailure, match=rf"environment 2 raised KeyError\('boom'\) in {where}"):
        run()


def test_a_sentence_says_what_the_environment_itself_could_say():
    trace = "Traceback (most recent call last):\n  File ...\nValueError: boom"
    hung = (
        "Timeout (0:00:01)!\nThread 0x2 (most recent call first):\n  File other\n\nThread 0x1:\n  File walk.py, line 3"
    )
    assert Record(1, "a step", True, "").sentence("was killed") == "environment 1 was killed in a step"
    assert Record(1, "a step", True, trace).sentence("") == f"environment 1 raised ValueError: boom in a step\n{trace}"
    said = "environment 1 took too long in a step and was stopped at\n  File walk.py, line 3"
    assert Record(1, "a step", True, hung).sentence("") == said


def test_doubles_become_floats(tmp_path):
    assert build(Walk, tmp_path, 0, timeout=None).reset()["achieved_goal"].dtype == torch.float32
