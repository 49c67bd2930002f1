"""Signals become an Event, so that the loop ends between batches."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yields an Event that SIGTERM and SIGINT set; the previous handlers come back at the end.

    A second signal finds the default handlers and ends the process at once.
    """
    stop = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def request_stop(number: int, frame: FrameType | None) -> None:
        log.info("%s: finishing the batch in hand", signal.Signals(number).name)
        stop.set()
        for each in previous:
            signal.signal(each, signal.SIG_DFL)

    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
