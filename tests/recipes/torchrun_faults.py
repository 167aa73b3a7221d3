"""An environment and an advantage that fail in one process of several."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.objectives.value import TD0Estimator

from torchrl_htrpo.envs import BitFlipEnv

FAULTS: dict[str, Callable[[], object]] = {
    "raises": lambda: {}["boom"],
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hangs": lambda: time.sleep(1000),
    "is stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
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
            Path("fault").touch()
            FAULTS[self.fault]()
        return super().move(position, action)


class FaultyTD0(TD0Estimator):
    """One-step advantages that fail in process 1 in the third update, so between two sums over the processes.

    Args:
        fault: a key of ``FAULTS``, or ``"diverges"``: the targets of the critic are NaN.
        **kwargs: of the estimator.
    """

    def __init__(self, fault: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.fault, self.updates = fault, 0

    def forward(self, tensordict: TensorDictBase, **kwargs: object) -> TensorDictBase:
        found = super().forward(tensordict, **kwargs)
        self.updates += 1
        if self.updates == 3 and os.environ.get("RANK") == "1":
            time.sleep(1)  # the others come to the sum meanwhile
            Path("fault").touch()
            if self.fault == "diverges":
                found["value_target"].fill_(torch.nan)
            else:
                FAULTS[self.fault]()
        return found
