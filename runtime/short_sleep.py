"""Sleeps of less than a millisecond, in a loop of greenlets.

With epoll, libev waits for whole milliseconds: a sleep of 0.1 ms takes 1.1, and one of 1 ms up to 2 beside
other work. Linux's timerfd takes as long as it was told. Python knows it from 3.13 on
(``os.timerfd_create``); until then the C library is asked.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import Final

import gevent

_CLOCK_MONOTONIC: Final = 1
_READ: Final = 1  #: libev's EV_READ
_EXPIRATIONS: Final = 8  #: bytes that a timer that has ended lets read


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class ShortSleep:
    """``sleep(seconds)`` for one greenlet, which makes it in its loop and sleeps in nothing else meanwhile.

    Elsewhere than on Linux it sleeps as gevent does. Keeps a descriptor until it is closed.
    """

    def __init__(self) -> None:
        """Raises OSError where there is no descriptor left."""
        self._timer: int | None = None
        if sys.platform != "linux":
            return
        self._library = ctypes.CDLL(None, use_errno=True)
        timer = self._library.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if timer < 0:
            raise OSError(ctypes.get_errno(), "no timer can be made")
        self._timer = timer
        self._watcher = gevent.get_hub().loop.io(timer, _READ)
        self._spec = _TimerSpec()

    def __call__(self, seconds: float) -> None:
        """Sleep so long, or a moment longer. ``seconds``: above 0."""
        if self._timer is None:
            gevent.sleep(seconds)
            return
        whole, rest = divmod(max(1, round(seconds * 1e9)), 1_000_000_000)
        self._spec.value = _TimeSpec(whole, rest)
        if self._library.timerfd_settime(self._timer, 0, ctypes.byref(self._spec), None):
            raise OSError(ctypes.get_errno(), "the timer cannot be set")
        gevent.get_hub().wait(self._watcher)
        with suppress(BlockingIOError):  # read before, by nobody that we know of
            os.read(self._timer, _EXPIRATIONS)

    def close(self) -> None:
        if self._timer is not None:
            self._watcher.stop()
            self._watcher.close()
            os.close(self._timer)
            self._timer = None
