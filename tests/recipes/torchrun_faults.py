"""An environment that fails in one process of several."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import torch
from torch import Tensor

from torchrl_htrpo.envs import BitFlipEnv

FAULTS: dict[str, Callable[[], object]] = {
    "raises": lambda: {}["boom"],
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hangs": lambda: time.sleep(1000),
}


class FaultyBitFlipEnv(BitFlipEnv):
    """Bit Flipping that fails in process 1 at its tenth step.

    Args:
        num_bits: of the environment.
        fault: a key of ``FAULTS``.
        **kwargs: of the environment.
    """

    def __init__(self, num_bits: int, fault: str, **kwargs: object) -> None:
        super().__init__(num_bits, **kwargs)
        self.fault, self.steps = fault, 0

    def move(self, position: Tensor, action: Tensor) -> Tensor:
        self.steps += 1
        if self.steps == 10 and os.environ.get("RANK") == "1" and not torch.is_inference_mode_enabled():
            FAULTS[self.fault]()
        return super().move(position, action)
