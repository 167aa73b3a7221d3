"""Handle SIGINT and SIGTERM during training: finish the iteration, then stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Handler = Callable[[int, FrameType | None], Any] | int | None


class StopSignals:
    """Record the first SIGINT or SIGTERM, so that a loop can save and stop; interrupt at the second one.

    A signal that the process ignores stays ignored (``nohup``). Outside the main thread nothing is changed, because
    Python handles signals there only.

    Example:
        >>> with StopSignals() as stop:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     stop.received.name, stop.exit_code
        ('SIGTERM', 143)
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, _Handler] = {}

    def __bool__(self) -> bool:
        """Whether a signal arrived."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """Exit code by the shell's convention for this signal; 0 without a signal."""
        return 0 if self.received is None else 128 + self.received

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._previous = {
                number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)
            }
            for number in self._previous:
                signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        # Write to the file descriptor: the interrupted code may hold the lock of a logger or of a buffered stream.
        os.write(2, f"\n{self.received.name}: stopping after this iteration; once more to stop now\n".encode())
