"""A step's result is data with advice."""

from __future__ import annotations

import pytest

from torchrl_htrpo.optim import StepResult, StepStatus


@pytest.mark.parametrize("status", StepStatus)
def test_every_status_says_what_happened_in_a_sentence(status):
    assert status.value.endswith(".") and len(status.value) > 10


def test_metrics_are_numbers_and_say_whether_the_step_was_accepted():
    metrics = StepResult(StepStatus.ACCEPTED, cg_iterations=3, gain=0.5).metrics()
    assert metrics["accepted"] == 1.0 and metrics["cg_iterations"] == 3.0 and metrics["gain"] == 0.5
    assert "status" not in metrics and all(type(value) is float for value in metrics.values())
    assert StepResult(StepStatus.NO_GAIN).metrics()["accepted"] == 0.0
