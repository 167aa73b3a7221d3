"""The first signal is recorded, the second interrupts, and the process is left as it was."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress

import pytest

from torchrl_htrpo.records.signals import SIGNALS, StopSignals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_recorded_with_the_exit_code_of_a_shell(number, code):
    with StopSignals() as stop:
        assert not stop and stop.exit_code == 0
        signal.raise_signal(number)
        assert stop and stop.received == number and stop.exit_code == code
    assert stop.exit_code == code  # still known after the loop


def test_a_second_signal_interrupts_at_once():
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.received == signal.SIGTERM


def test_the_previous_handlers_are_restored_also_after_an_error():
    before = [signal.getsignal(number) for number in SIGNALS]
    with suppress(ZeroDivisionError), StopSignals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop
            signal.raise_signal(signal.SIGTERM)
            assert stop
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_leaves_the_handlers_alone():
    seen = []

    def enter() -> None:
        with StopSignals():
            seen.extend(signal.getsignal(number) for number in SIGNALS)

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == before
