"""Threads for short questions to the database and Redis that the status and queue routes ask from the loop.

Pages have threads of their own, because they may take long; so have claims, because they must not wait behind
these questions. A request that waits for the log (coupons/claims/undecided.py) waits in the loop and holds no
thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from django.db import Error as DatabaseLayerError
from django.db import close_old_connections
from gevent.threadpool import ThreadPool

from runtime import database_roles, greenlets
from runtime.database_watch import watch

P = ParamSpec("P")
T = TypeVar("T")

#: Each holds a database connection. Fewer, and one slow question holds up the others; more, and a crowd that
#: asks for its status takes the worker's processor from claims.
THREADS: Final = 2
_pool: ThreadPool | None = None


def start() -> None:
    """From now on the loop of the calling thread asks through threads. Call it in the loop's thread."""
    global _pool
    _pool = ThreadPool(THREADS)


def stop() -> None:
    """From now on functions are called in the caller's own thread, as before ``start``."""
    global _pool
    _pool = None


def in_thread(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call a function that asks a short question. From the loop: in a pool thread, while the greenlet sleeps.

    The function must not wait for the log, nor touch greenlets: it runs outside the loop. Raises
    DatabaseAwayError at once while the database is away.
    """
    if _pool is None or not greenlets.is_here():
        return function(*args, **named)

    def call() -> T:
        close_old_connections()  # else a question that meets a dead connection is answered with 503
        with database_roles.watched():  # the coupon views that the function reads are those that claims use
            return function(*args, **named)

    watch.refuse_if_away()
    try:
        return greenlets.call_in(_pool, call)
    except DatabaseLayerError:
        watch.suspect()
        raise
