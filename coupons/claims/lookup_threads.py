"""Threads for short questions to the database and Redis, asked from the loop: those of the status route.

Apart from the threads of pages, which may take long, and of claims, which wait for nobody. Whoever has
to wait for longer (coupons/claims/undecided.py) waits in the loop, and holds none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from django.db import close_old_connections
from gevent.threadpool import ThreadPool

from runtime import greenlets

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 2  #: each has a connection to the database of its own
_pool: ThreadPool | None = None


def start() -> None:
    """From now on the loop of the calling thread asks through threads."""
    global _pool
    _pool = ThreadPool(THREADS)


def stop() -> None:
    """From now on whoever asks does so where it is, as before ``start``."""
    global _pool
    _pool = None


def in_thread(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call a function that asks once; in the loop, the greenlet sleeps meanwhile."""
    if _pool is None or not greenlets.is_here():
        return function(*args, **named)

    def call() -> T:
        close_old_connections()  # before each: a question that finds its connection dead is answered with 503
        greenlets.look_at_connection()  # the views of coupons that it reads are those that claims use
        return function(*args, **named)

    return greenlets.call_in(_pool, call)
