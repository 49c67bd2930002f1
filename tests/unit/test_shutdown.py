"""Signals become an Event; what was there before comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from consumer.shutdown import stop_on_signals
from dev.processes import PROJECT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(10)


def test_the_handlers_from_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)

    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_the_handlers_come_back_after_an_error_too() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(ZeroDivisionError), stop_on_signals():
        raise ZeroDivisionError

    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_process_that_does_not_stop(second: signal.Signals) -> None:
    code = (
        "import time\n"
        "from consumer.shutdown import stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    stop.wait(10)\n"
        "    print('stopping', flush=True)\n"
        "    time.sleep(30)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"

        process.send_signal(second)

        assert process.wait(30) == -second
