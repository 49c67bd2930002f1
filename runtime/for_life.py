"""Greenlets without which a process is useless. Without Django: the master imports this."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

import gevent

log = logging.getLogger(__name__)


def spawn(function: Callable[[], None]) -> None:
    """Run, in a greenlet of the loop, a function that this process cannot do without. Call it in the loop.

    gevent prints the error of a greenlet that fails, and goes on without it. Here the worker ends instead, as
    when it is asked to stop, and gunicorn starts another one. ``function`` must not block the thread.
    """
    gevent.spawn(function).link_exception(_end)


def _end(greenlet: gevent.Greenlet) -> None:
    log.critical("this worker cannot go on and is replaced", exc_info=greenlet.exc_info)
    os.kill(os.getpid(), signal.SIGTERM)
