"""Ctrl-C and its relatives: once to stop in order, twice to stop at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

#: `make` and shells pass a signal on to a child that has already got it from the terminal.
ECHO_S = 1.0


class StopAsked(Exception):
    """Ctrl-C or a signal came. Nothing went wrong, so it is no ServiceError."""


class StopRequest:
    """What the person at the terminal wants. Waits in the main thread end when a signal comes."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked = Event()
        self.at_once = Event()
        self._clock = clock
        self._asked_at = 0.0

    def note(self) -> None:
        """One more signal has come."""
        if not self.asked.is_set():
            self._asked_at = self._clock()
            self.asked.set()
        elif self._clock() - self._asked_at > ECHO_S:
            self.at_once.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP are noted while the block runs. SIGHUP under nohup stays ignored."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.note()
