"""A real Ray cluster of two workers collects, is seeded, gets the newest weights, and loses workers."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import pytest
import torch

from torchrl_htrpo import BitFlipEnv, make_actor
from torchrl_htrpo.modules import CategoricalHead
from torchrl_htrpo.modules.log_prob import action_log_prob
from torchrl_htrpo.trainers import LostWorkersError, RayWorkers

ray = pytest.importorskip("ray")
KEYS = ("observation", "action", "action_log_prob", "desired_goal", ("next", "achieved_goal"))


class FailingEnv(BitFlipEnv):
    def _step(self, tensordict):
        raise ArithmeticError("of the environment")


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def workers(env=BitFlipEnv, **settings) -> RayWorkers:
    actor = make_actor(CategoricalHead(4), 8, (16,))
    given = {"num_workers": 2, "batch_steps": 2 * 8 * 4} | settings
    return RayWorkers(partial(env, 4, num_envs=8), actor, **given)


def batch(batches, seed):
    torch.manual_seed(seed)
    return next(batches)


def equal(one, other) -> bool:
    return all(torch.equal(one[key], other[key]) for key in KEYS)


@pytest.mark.timeout(300)
def test_batches_depend_on_seed_and_weights_alone_and_survive_lost_workers(cluster):
    torch.manual_seed(0)
    with closing(workers()) as found:
        batches = iter(found)
        first = batch(batches, 1)
        assert first.shape == (2, 8, 4) and not torch.equal(first["action"][0], first["action"][1])
        assert not equal(batch(batches, 2), first) and equal(batch(batches, 1), first)

        with torch.no_grad():
            for parameter in found.policy.parameters():
                parameter.add_(0.1)
        again = batch(batches, 1)
        torch.testing.assert_close(action_log_prob(found.policy, again), again["action_log_prob"])
        assert not torch.equal(again["action_log_prob"], first["action_log_prob"])

        ray.kill(found.workers.remote_collectors[1])
        assert equal(batch(batches, 1), again)

        found.restarts = 0
        ray.kill(found.workers.remote_collectors[0])
        with pytest.raises(LostWorkersError, match=r"workers \[1\] of 2 died .*resume="):
            next(batches)
    assert ray.is_initialized()  # it was there before


@pytest.mark.timeout(300)
def test_an_error_of_the_environment_is_raised_at_once(cluster):
    with closing(workers(FailingEnv)) as found, pytest.raises(ArithmeticError, match="of the environment"):
        next(iter(found))


def test_more_workers_than_cpus_are_refused(cluster):
    with pytest.raises(ValueError, match="num_cpus must be at most the 2 CPUs of the cluster for 3 workers"):
        workers(num_workers=3, batch_steps=96)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_workers": 0}, "num_workers"),
        *(({"batch_steps": value}, "batch_steps") for value in (63, 0, -2, float("nan"))),
        ({"restarts": -1}, "restarts"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_bad_arguments_are_refused(settings, named):
    with pytest.raises(ValueError, match=f"RayWorkers: {named} must be"):
        workers(**settings)
