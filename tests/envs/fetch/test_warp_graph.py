"""A recorded sequence repeats its launches."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("mujoco_warp")

from torchrl_htrpo.envs.fetch.warp_graph import Recorded

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.warp),
    pytest.param("cuda", marks=[pytest.mark.warp, pytest.mark.gpu]),
]


@pytest.mark.parametrize("device", DEVICES)
def test_every_call_launches_once_more(device: str):
    import warp as wp

    wp.init()

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    count = torch.zeros(3, device=device)
    view, step = wp.from_torch(count), wp.from_torch(torch.ones(3, device=device))

    def launch() -> None:
        wp.map(wp.add, view, step, out=view)

    recorded = Recorded(launch, count.device)
    recorded()
    first = count.clone()
    for _ in range(3):
        recorded()
    # On CUDA the first call launches, and recording only records.
    assert first.tolist() == [1.0] * 3
    assert count.tolist() == [4.0] * 3
