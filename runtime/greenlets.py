"""The loop of greenlets in which a gunicorn worker answers, for code that has to wait.

Nothing in the loop may wait for a server as a thread does: all connections of the worker would
wait with it. Such a wait goes to ``in_thread``. Where there is no loop (the consumer, commands,
tests) the same code waits where it is.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

import gevent
import gevent.event
from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection
from gevent.threadpool import ThreadPool

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 2  #: for what claims wait for; the pages' threads are others (runtime/in_threads.py)
#: So long a thread may go on reading from a database that went away, or takes no writes any more.
LOOK_EVERY_S: Final = 1.0
_looked = threading.local()
_pool: ThreadPool | None = None
_apart: ThreadPool | None = None
_thread: int | None = None


def start() -> None:
    """The calling thread's loop is the one that answers, from now on."""
    global _pool, _apart, _thread
    _pool, _apart, _thread = ThreadPool(THREADS), ThreadPool(1), threading.get_ident()


def stop() -> None:
    """No loop answers any more, as in a process that never had one. A worker's ends with its process."""
    global _pool, _apart, _thread
    _pool = _apart = _thread = None


def is_here() -> bool:
    """Whether the caller runs in the loop."""
    return _thread is not None and threading.get_ident() == _thread


class LoopEvent:
    """A greenlet of the loop waits for it; any thread may set it.

    gevent's own may be set by the loop's thread alone: set from a thread that reports in a library's
    callback, it wakes nobody, or wakes them there.
    """

    def __init__(self) -> None:
        self._event = gevent.event.Event()
        self._loop = gevent.get_hub().loop

    def set(self) -> None:
        if is_here():
            self._event.set()
        else:
            self._loop.run_callback_threadsafe(self._event.set)

    def wait(self, timeout_s: float | None = None) -> bool:
        return bool(self._event.wait(timeout_s))


def spawn_for_life(function: Callable[[], None]) -> None:
    """Run what this process cannot do without in a greenlet of the loop.

    gevent prints what a greenlet raises and goes on without it. Here the worker ends, as when it is asked
    to stop, and gunicorn starts another one.
    """
    gevent.spawn(function).link_exception(_end)


def _end(greenlet: gevent.Greenlet) -> None:
    log.critical("this worker cannot go on and is replaced", exc_info=greenlet.exc_info)
    os.kill(os.getpid(), signal.SIGTERM)


def event() -> threading.Event | LoopEvent:
    """What to wait for something with, made where it is waited for: a greenlet in the loop, else a thread."""
    return LoopEvent() if is_here() else threading.Event()


def in_thread(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call a function that may block; in the loop, the greenlet sleeps meanwhile."""
    return _apply(_pool, function, *args, **named)


def apart(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """As in_thread, for what takes long: in a thread that claims which need none of it do not wait for.

    One at a time.
    """
    return _apply(_apart, function, *args, **named)


def _apply(pool: ThreadPool | None, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    if not is_here() or pool is None:
        return function(*args, **named)

    def call() -> T:
        look_at_connection()
        return function(*args, **named)

    return call_in(pool, call)


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


def call_in(pool: ThreadPool, call: Callable[[], T]) -> T:
    """Call it in a thread of this pool; the greenlet sleeps meanwhile, and gets what it raises.

    Handed over as a value: whatever leaves a thread of gevent's by itself has its trace printed in the loop
    besides, caught or not. While the database is away that is 80 lines for each group and each question.
    """

    def caught() -> T | _Raised:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - raised again in the greenlet
            return _Raised(error)

    result: T | _Raised = pool.apply(caught)
    if isinstance(result, _Raised):
        raise result.error
    return result


def look_at_connection() -> None:
    """What Django does around each request, once a second: it asks the database whether it is still there.

    And whether it takes writes. For every thread that keeps a connection and reads what claims rely on.
    """
    if time.monotonic() - getattr(_looked, "at", 0.0) > LOOK_EVERY_S:
        close_old_connections()
        leave_read_only_database()
        _looked.at = time.monotonic()


def leave_read_only_database() -> None:
    """Close this thread's connection to a database that takes no writes.

    After a failover the old primary lives on as a replica, and a kept connection would go on reading rows
    there that are older by the second. The next one is made by the name, which leads to the new primary.
    """
    if connection.vendor != "mysql" or connection.connection is None:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@global.read_only")
            [is_read_only] = cursor.fetchone()
    except DatabaseLayerError:
        connection.close()  # whoever asks next finds out whether the database is away
        return
    if str(is_read_only).upper() not in ("0", "OFF"):
        log.warning("this database takes no writes: connecting anew")
        connection.close()
