"""The recipe on a Ray cluster of two workers."""

from __future__ import annotations

import pytest

from torchrl_htrpo.records import read_table
from torchrl_htrpo.trainers import RayWorkers

ray = pytest.importorskip("ray")
RECIPE = ("collector=ray", "num_collectors=2", "num_envs=4", "total_steps=96")


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def same_workers(cluster, monkeypatch):
    """Workers start slowly, so all runs of a test have the same."""
    made, start = [], RayWorkers._start
    monkeypatch.setattr(RayWorkers, "_start", lambda self: made[0] if made else made.append(start(self)) or made[0])
    monkeypatch.setattr(RayWorkers, "_stop", lambda _: None)
    yield
    made[0].shutdown()


@pytest.mark.timeout(300)
def test_a_resumed_run_ends_as_the_unbroken_one(same_workers, trained, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    trained("htrpo_bitflip", *RECIPE, directory=whole)
    trained("htrpo_bitflip", *RECIPE, "total_steps=48", directory=broken)
    trained("htrpo_bitflip", *RECIPE, f"resume={broken}", directory=broken)
    one, other = (read_table(folder / "metrics.csv") for folder in (whole, broken))
    names = [name for name in one if not name.startswith("time/")]
    assert len(one["step/divergence"]) == 6
    assert {name: one[name] for name in names} == {name: other[name] for name in names}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["num_collectors=2"], "num_collectors must be 1 without collector=ray"),
        (["collector=ray", "num_collectors=3", "num_envs=4"], "num_collectors must be a divisor of num_envs = 4"),
    ],
)
def test_numbers_of_workers_that_do_not_fit_are_refused(overrides, message, trained, tmp_path):
    with pytest.raises(ValueError, match=message):
        trained("htrpo_bitflip", *overrides, directory=tmp_path)
