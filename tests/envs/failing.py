"""Goal environments of gymnasium that fail in ways real ones do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np

BOX = gymnasium.spaces.Box(-100, 100, (2,), np.float64)


def crash() -> None:
    """As a segmentation fault would."""
    os.kill(os.getpid(), signal.SIGSEGV)


FAULTS: dict[str, Callable[[], object]] = {
    "exits": partial(os._exit, 7),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crashes": crash,
    "raises": lambda: {}["boom"],
    "leaves": lambda: sys.exit(3),
    "hangs": lambda: time.sleep(1000),
    "is stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


class Walk(gymnasium.Env):
    """Walk in the plane for ``horizon`` steps; with a fault, which comes in a step of an episode.

    Args:
        fault: a key of ``FAULTS``, ``"construction"`` of it, or a number that the observation becomes.
        episode: in which it comes, from 1.
        step: at which it comes, from 1; 0: in the reset.
        key: of the entry that becomes a number.
        once: a file: the fault comes only if it is not there, and makes it.
        closing: the fault comes when the environment is closed after a reset.
        simulator: a folder: start another program, and name a file there after its process.
    """

    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gymnasium.spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), BOX))

    def __init__(
        self,
        fault=None,
        *,
        episode=1,
        step=3,
        key="observation",
        horizon=5,
        once=None,
        construction=False,
        closing=False,
        simulator=None,
    ):
        self.fault, self.when, self.key, self.once = fault, (episode, step), key, once
        self.horizon, self.episode, self.closing = horizon, 0, closing
        if simulator is not None:
            program = subprocess.Popen(["sleep", "1000"])
            (Path(simulator) / str(program.pid)).touch()
        if construction:
            FAULTS[fault]()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        self.place, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        return self.state(), {}

    def step(self, action):
        self.steps += 1
        self.place = self.place + 0.1 * action + 0.01 * self.np_random.normal(size=2)
        state = self.state()
        return state, self.bad("reward", 0.0), False, self.steps == self.horizon, {}

    def close(self):
        if self.closing and self.episode:  # TorchRL makes and closes another one for its specs
            FAULTS[self.fault]()

    def state(self):
        self.due = self.comes()
        if self.due and isinstance(self.fault, str):
            FAULTS[self.fault]()
        entries = {"observation": self.place, "achieved_goal": self.place, "desired_goal": self.goal}
        return {key: self.bad(key, value.copy()) for key, value in entries.items()}

    def comes(self):
        """Whether the fault comes now."""
        if self.fault is None or self.closing or (self.episode, self.steps) != self.when:
            return False
        try:
            if self.once is not None:
                Path(self.once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def bad(self, key, value):
        return value + self.fault if self.due and key == self.key and isinstance(self.fault, float) else value
