"""The loop of greenlets in which a gunicorn worker answers, for code that has to wait.

No code in the loop may wait for a server as a thread does: all connections of the worker would
wait with it. Such code runs through ``in_thread``. Where there is no loop (the consumer, commands,
tests) the same code blocks its own thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

import gevent
import gevent.event
from django.db import connection
from gevent.threadpool import ThreadPool

from runtime import database_roles

P = ParamSpec("P")
T = TypeVar("T")

#: Threads that do the claims' blocking work; pages have others (runtime/http/wsgi.py). Each takes a database
#: connection. Fewer, and a batch cannot be screened while another one is noted; more, and they compete with
#: the loop for the interpreter.
THREADS: Final = 2
_pool: ThreadPool | None = None
_apart: ThreadPool | None = None
_beside: ThreadPool | None = None
_thread: int | None = None


def start() -> None:
    """From now on the calling thread's loop answers. Call it in that thread, after the fork."""
    global _pool, _apart, _beside, _thread
    _pool, _apart, _beside = ThreadPool(THREADS), ThreadPool(1), ThreadPool(1)
    _thread = threading.get_ident()


def stop() -> None:
    """From now on no loop answers, as before ``start``. A worker's loop ends with its process."""
    global _pool, _apart, _beside, _thread
    _pool = _apart = _beside = _thread = None


def is_here() -> bool:
    """Whether the caller runs in the loop. From any thread."""
    return _thread is not None and threading.get_ident() == _thread


class LoopEvent:
    """An event that a greenlet of the loop waits for, and any thread may set, also a library's callback.

    Made in the loop. gevent's own event must not be set by another thread: it wakes no greenlet, or wakes it
    in the wrong thread.
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


def event() -> threading.Event | LoopEvent:
    """An event for the caller to wait for: for a greenlet if called in the loop, else for a thread."""
    return LoopEvent() if is_here() else threading.Event()


def in_hub_later(function: Callable[[], None]) -> Callable[[], None]:
    """What any thread may call to have ``function`` run in the loop's hub. Made in the loop, or its hub."""
    loop = gevent.get_hub().loop
    return lambda: loop.run_callback_threadsafe(function)


def later(seconds: float, function: Callable[[], None]) -> None:
    """Have ``function`` run in the loop then, in a greenlet of its own. Called in the loop, or its hub."""
    gevent.spawn_later(seconds, function)


def in_thread(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call a function that may block. From the loop: in a pool thread, while the greenlet sleeps.

    The function must not touch greenlets: it runs outside the loop, and two at a time.
    """
    return _apply(_pool, function, *args, **named)


def apart(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """As ``in_thread``, for a function that takes long: in a thread apart, so that other claims do not wait.

    One call at a time.
    """
    return _apply(_apart, function, *args, **named)


def beside(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """As ``apart``, for what is done seldom and waited for by no claim: it keeps no database connection."""

    def call() -> T:
        try:
            return function(*args, **named)
        finally:
            connection.close()

    return _apply(_beside, call) if is_here() else function(*args, **named)


def _apply(pool: ThreadPool | None, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    if not is_here() or pool is None:
        return function(*args, **named)

    def call() -> T:
        with database_roles.watched():
            return function(*args, **named)

    return call_in(pool, call)


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


def call_in(pool: ThreadPool, call: Callable[[], T]) -> T:
    """Call it in a thread of this pool, from the loop. The greenlet sleeps meanwhile, and gets the error.

    The error is handed over as a value, because gevent prints the trace of every error that leaves one of its
    threads, caught or not: 80 lines for each batch and each question while the database is away.
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
