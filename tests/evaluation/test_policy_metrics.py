"""PolicyMetrics: the metrics of the head, and one warning for each problem."""

from __future__ import annotations

import logging

import pytest
import torch
from tensordict import TensorDict
from torchrl import torchrl_logger

from tests.cases import ALL_HEADS, actor_with, trajectories
from torchrl_htrpo.evaluation import PolicyMetrics
from torchrl_htrpo.modules import CategoricalHead, GaussianMixtureHead, MixedHead, make_actor


@pytest.fixture
def warned(monkeypatch, caplog):
    monkeypatch.setattr(torchrl_logger, "propagate", True)
    caplog.set_level(logging.WARNING, logger=torchrl_logger.name)
    return caplog


def written(logits, scale, size=1):
    """Parameters that a one-dimensional mixture writes in each state."""
    loc = torch.zeros(len(logits), len(logits[0]), size)
    entries = {"logits": torch.tensor(logits), "scale": torch.tensor(scale).unsqueeze(-1), "loc": loc}
    return TensorDict(entries, batch_size=len(logits))


def mixture(**kwargs):
    return make_actor(GaussianMixtureHead(1, 2, **kwargs), 4)


@pytest.mark.parametrize("head", ALL_HEADS)
def test_every_head_has_metrics(head):
    actor = actor_with(head)
    figures = PolicyMetrics(actor)(trajectories(actor=actor))
    assert all(isinstance(value, float) and name.startswith("policy/") for name, value in figures.items())
    assert bool(figures) == (head in {"gaussian", "recurrent", "mixture", "tanh_mixture", "mixed"})


def test_a_mixture_reports_collapsed_scales_and_weights():
    batch = written([[0.0, 0.0], [0.0, 0.0]], [[0.1, 0.5], [0.1, 0.1]])
    figures = PolicyMetrics(mixture(min_scale=0.1))(batch)
    assert figures == pytest.approx({"policy/collapsed_share": 0.75, "policy/idle_share": 0, "policy/components": 2})
    batch = written([[0.0, -9.0], [0.0, -8.0]], [[0.3, 0.5], [0.2, 0.4]])
    figures = PolicyMetrics(mixture(min_scale=0.1))(batch)
    assert figures["policy/collapsed_share"] == 0 and figures["policy/idle_share"] == 0.5
    assert 1 < figures["policy/components"] < 1.01


def test_steps_outside_the_mask_do_not_count():
    batch = written([[0.0, 0.0], [0.0, 0.0]], [[0.3, 0.5], [0.0, 0.0]])
    batch["collector", "mask"] = torch.tensor([True, False])
    assert PolicyMetrics(mixture())(batch)["policy/collapsed_share"] == 0


def test_each_problem_is_warned_of_once(warned):
    watch, batch = PolicyMetrics(mixture(min_scale=0.1)), written([[0.0, -9.0]], [[0.1, 0.5]])
    watch(written([[0.0, 0.0]], [[0.3, 0.5]]))
    assert not warned.messages
    for _ in range(3):
        watch(batch)
    assert len(warned.messages) == 2
    assert "GaussianMixtureHead: a component has reached min_scale=0.1" in warned.messages[0]
    assert "(policy/idle_share = 0.5)" in warned.messages[1]


def test_a_mixed_head_reports_the_metrics_of_its_parts(warned):
    head = MixedHead({"gear": CategoricalHead(2), "push": GaussianMixtureHead(1, 2, min_scale=0.5, init_scale=0.5)})
    actor = make_actor(head, 5)
    with torch.no_grad():
        actor[0].module.layers[0][-1].bias.fill_(-50.0)
    figures = PolicyMetrics(actor)(trajectories(dtype=torch.float32, actor=actor))
    assert (
        figures["policy/push/collapsed_share"] == 1
        and "MixedHead: a component has reached min_scale" in warned.messages[0]
    )


def test_a_policy_without_a_head_or_without_metrics_reports_none():
    assert PolicyMetrics(make_actor(CategoricalHead(2), 4))(TensorDict(logits=torch.zeros(2))) == {}
    assert PolicyMetrics(torch.nn.Linear(1, 1))(TensorDict()) == {}
