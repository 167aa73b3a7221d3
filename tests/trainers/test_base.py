"""The loop: budget, hooks, evaluation, saving."""

from __future__ import annotations

import re

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from torchrl_htrpo import BitFlipEnv, make_actor
from torchrl_htrpo.modules import CategoricalHead
from torchrl_htrpo.records import read_table
from torchrl_htrpo.trainers import Evaluator, Trainer, seed_everything


class Counting(Trainer):
    """Learns nothing; counts its updates."""

    updates = 0

    def update(self, batch):
        self.updates += 1
        return {"train/steps": float(batch.numel())}


def trainer(folder, **settings):
    env = BitFlipEnv(4, num_envs=4, seed=0)
    given = {"total_steps": 50, "batch_steps": 16, "directory": folder} | settings
    return Counting(env, make_actor(CategoricalHead(4), 8, (8,)), **given)


def test_no_batch_goes_beyond_the_budget(tmp_path):
    one = trainer(tmp_path)
    assert "env_steps=48" in one.train() and one.updates == 3
    assert read_table(tmp_path / "metrics.csv")["train/steps"] == [(16, 16.0), (32, 16.0), (48, 16.0)]


def test_hooks_are_called_in_every_iteration(tmp_path):
    one, calls = trainer(tmp_path), []
    one.register_op("batch_process", lambda batch: batch[:2])
    one.register_op("post_steps", lambda: calls.append("after"))
    one.register_op("post_steps_log", lambda batch: {"train/rows": float(len(batch))})
    one.train()
    table = read_table(tmp_path / "metrics.csv")
    assert calls == ["after"] * 3
    assert [value for _, value in table["train/rows"]] == [2.0] * 3
    assert [value for _, value in table["train/steps"]] == [8.0] * 3


def test_an_unknown_hook_is_refused_with_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"dest must be .*got 'pre_optim'.*post_steps_log"):
        trainer(tmp_path).register_op("pre_optim", print)


@pytest.mark.parametrize(
    ("batch_steps", "said"), [(0, "a positive integer, got 0"), (64, "from 1 to total_steps = 50, got 64")]
)
def test_a_batch_that_does_not_fit_the_budget_is_refused(batch_steps, said, tmp_path):
    with pytest.raises(ValueError, match=f"batch_steps must be {said}"):
        trainer(tmp_path, batch_steps=batch_steps)


class Drawn(BitFlipEnv):
    """Draws each of its pictures in another grey."""

    pictures = 0

    def render(self, *, width, height):
        self.pictures += 1
        return np.full((height, width, 3), 10 * self.pictures, np.uint8)


def filmed(**settings) -> Evaluator:
    env = BitFlipEnv(4, num_envs=4, seed=1)
    return Evaluator(env, env.task(), 4, episodes=8, final_episodes=8, film=Drawn(4), **settings)


def test_a_gif_of_the_policy_is_written_at_the_end_of_the_training(tmp_path):
    trainer(tmp_path, evaluator=filmed()).train()
    assert imageio.imread(tmp_path / "policy.gif").shape == (3 * 4, 240, 240, 3)


def test_the_logger_gets_the_video(tmp_path):
    pytest.importorskip("moviepy")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer(tmp_path, evaluator=filmed(), logger="tensorboard", name="logged").train()
    (picture,) = accumulator.EventAccumulator(str(tmp_path / "logged")).Reload().Images("eval/policy")
    assert picture.step == 48 and picture.encoded_image_string.startswith(b"GIF8")


def test_an_environment_that_cannot_be_drawn_is_refused_before_training():
    env = BitFlipEnv(4, num_envs=4, seed=1)
    with pytest.raises(RuntimeError, match="cannot be drawn: Evaluator: env must be .*BitFlipEnv"):
        Evaluator(env, env.task(), 4, film=BitFlipEnv(4))


def test_the_bar_tells_both_successes_the_divergence_and_the_time_left(tmp_path, monkeypatch, capsys):
    one = trainer(tmp_path, evaluator=filmed())
    one.shown = {"KL": "step/divergence"}
    monkeypatch.setattr(one, "update", lambda batch: {"step/divergence": 0.00512})
    one.train()
    bar = capsys.readouterr().err.split("\r")[-1]
    assert re.search(r"48/50 \[\d\d:\d\d<\d\d:\d\d.*success=\S+, at the end=\S+, KL=0.00512", bar), bar


def test_training_stops_at_the_target_of_the_evaluator_and_stays_there_when_resumed(tmp_path):
    env = BitFlipEnv(4, num_envs=4, seed=1)
    evaluator = Evaluator(env, env.task(), 4, episodes=64, target=0.01)
    one = trainer(tmp_path, evaluator=evaluator)
    assert "env_steps=16" in one.train()
    again = trainer(tmp_path, evaluator=Evaluator(env, env.task(), 4, target=0.01), resume=True)
    again.train()
    assert again.updates == 0


class Scripted(Evaluator):
    """Evaluates to given success rates; the last evaluation is one of its own."""

    def __call__(self, actor, last):
        return {"eval/success": 0.95 if last else next(self.rates), "eval/episodes": 200.0 if last else 64.0}


def scripted(rates, **settings):
    env = BitFlipEnv(4, num_envs=4, seed=1)
    made = Scripted(env, env.task(), 4, target=0.9, **settings)
    made.rates = iter(rates)
    return made


RATES = (0.9, 0.95, 0.5, 1.0, 0.9, 0.9, 0.0)


def test_training_stops_after_so_many_evaluations_in_a_row_at_the_target(tmp_path):
    one = trainer(tmp_path, total_steps=160, evaluator=scripted(RATES, target_evaluations=3))
    assert "env_steps=96" in one.train()  # the fourth, fifth and sixth
    table = read_table(tmp_path / "metrics.csv")
    assert table["eval/success"][-1] == (96, 0.95) and table["eval/episodes"][-1] == (96, 200.0)


def test_the_evaluations_in_a_row_are_counted_across_a_resume(tmp_path):
    trainer(
        tmp_path, total_steps=80, evaluator=scripted(RATES, target_evaluations=3)
    ).train()  # five; at 0.95 in the end
    again = trainer(tmp_path, total_steps=160, evaluator=scripted(RATES[5:], target_evaluations=3), resume=True)
    assert "env_steps=96" in again.train() and again.updates == 1  # after 1.0 and 0.95, 0.9 is the third
    more = trainer(tmp_path, total_steps=160, evaluator=scripted(RATES[5:], target_evaluations=3), resume=True)
    more.train()
    assert more.updates == 0


def test_the_same_seed_gives_the_same_numbers():
    drawn = []
    for _ in range(2):
        seed_everything(3)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
