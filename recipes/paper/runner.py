"""Run several jobs at once, each a process, within a budget of time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs import Job

from torchrl_htrpo.records.signals import SIGNALS, StopSignals

WATCH = 300.0  # seconds between checks of running jobs
# Exit codes of a run that a signal stopped: after a checkpoint, or before its first one.
STOPPED = {code for number in SIGNALS for code in (128 + number, -number)}


@dataclass
class Runner:
    """Run jobs in their order; stop them at a checkpoint when the time is over or a signal comes.

    Args:
        at_once: processes at the same time. Default: one per core.
        minutes: after which the runs are stopped. Default: never.
        archives: where unfinished runs are kept. Default: nowhere.
        watch: called with a job every five minutes while it runs, and when it ends.
    """

    at_once: int | None = None
    minutes: float | None = None
    archives: Path | None = None
    watch: Callable[[Job], None] = lambda job: None
    left: list[Job] = field(default_factory=list, init=False)
    failed: list[Job] = field(default_factory=list, init=False)
    _running: dict[Job, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _stopped: bool = field(default=False, init=False)

    @property
    def exit_code(self) -> int:
        """0: all is done; 1: a run failed; 3: work is left."""
        return 1 if self.failed else 3 if self.left else 0

    def __call__(self, jobs: Sequence[Job]) -> int:
        """Run all jobs, also after one fails; return the exit code."""
        waiting, at_once = deque(jobs), self.at_once or os.cpu_count() or 1
        looked = begun = time.monotonic()
        with StopSignals() as stop:
            try:
                while waiting or self._running:
                    if stop or (self.minutes is not None and time.monotonic() - begun >= 60 * self.minutes):
                        self._stop(waiting)
                    while waiting and len(self._running) < at_once:
                        self._start(waiting.popleft())
                    self._collect()
                    if time.monotonic() - looked > WATCH:
                        looked = time.monotonic()
                        for job in self._running:
                            self.watch(job)
                    time.sleep(0.2)
            finally:
                for process in self._running.values():
                    process.kill()
        return self.exit_code

    def _stop(self, waiting: deque[Job]) -> None:
        """Ask every run to stop at its next checkpoint, once."""
        if not self._stopped:
            self._stopped = True
            self.left += waiting
            waiting.clear()
            for process in self._running.values():
                process.send_signal(signal.SIGTERM)

    def _start(self, job: Job) -> None:
        try:
            self._running[job] = job.start(self.archives)
        except ValueError as error:  # its archive is damaged
            self.failed.append(job)
            print(f"FAILED {job}: {error}", flush=True)

    def _collect(self) -> None:
        for job, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[job]
            if code == 0:
                print(f"done: {job}: {job.finish()}", flush=True)
            elif self._stopped or code in STOPPED:
                self.left.append(job)
                print(f"stopped: {job}", flush=True)
            else:
                self.failed.append(job)
                print(f"FAILED {job}: see {job.folder / 'output.txt'}", flush=True)
            self.watch(job)
