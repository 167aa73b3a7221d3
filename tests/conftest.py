"""Shared fixtures: a seed, one thread, one log-probability for each action, and the devices of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings
from tensordict.nn import set_composite_lp_aggregate

# For the tests that compare runs bit for bit on a GPU; read when cuBLAS is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

settings.register_profile(
    "htrpo",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("htrpo")


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """Seed, use one thread and one matmul precision, and do not sum composite log-probabilities."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    products = torch.backends.mkldnn.matmul
    precision = products.fp32_precision
    with set_composite_lp_aggregate(False):
        yield
    products.fp32_precision = precision  # the recipes choose one


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn; CUDA only where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)
