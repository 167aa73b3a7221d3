"""The loop: budget, hooks, evaluation, saving."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torchrl_htrpo import BitFlipEnv, make_actor
from torchrl_htrpo.modules import CategoricalHead
from torchrl_htrpo.records import read_table
from torchrl_htrpo.trainers import Evaluator, Trainer, descend, seed_everything


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
    ("batch_steps", "said"), [(0, "from 1 to total_steps = 50, got 0"), (64, "from 1 to total_steps = 50, got 64")]
)
def test_a_batch_that_does_not_fit_the_budget_is_refused(batch_steps, said, tmp_path):
    with pytest.raises(ValueError, match=f"batch_steps must be {said}"):
        trainer(tmp_path, batch_steps=batch_steps)


def test_training_stops_at_the_target_of_the_evaluator_and_stays_there_when_resumed(tmp_path):
    env = BitFlipEnv(4, num_envs=4, seed=1)
    evaluator = Evaluator(env, env.task(), 4, episodes=64, target=0.01)
    one = trainer(tmp_path, evaluator=evaluator)
    assert "env_steps=16" in one.train()
    again = trainer(tmp_path, evaluator=Evaluator(env, env.task(), 4, target=0.01), resume=True)
    again.train()
    assert again.updates == 0


def test_a_gradient_that_is_not_finite_stops_before_the_parameters():
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(RuntimeError, match="non-finite"):
        descend(torch.optim.SGD([weight], lr=1.0), (weight * torch.nan).sum())
    assert torch.equal(weight, torch.ones(2))


def test_the_same_seed_gives_the_same_numbers():
    drawn = []
    for _ in range(2):
        seed_everything(3)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
