"""The deciding transaction in a thread of its own: while it waits for the database, the loop's thread works.

The driver lets go of the interpreter while it waits, which is half of the time that a batch takes. Only one
transaction is under way at a time, so batches are committed in the order in which they were given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection

from runtime import database_roles
from runtime.database_errors import Kind, kind_of

#: The loop's thread keeps the interpreter for so long when an answer of the database has come: a batch has a
#: dozen of them. With Python's default, 5 ms, waiting for the interpreter takes longer than all the rest;
#: shorter, and threads switch more than they work.
_SWITCH_S: Final = 0.0002
T = TypeVar("T")


class Running(Protocol):
    """How a transaction is run: ``decide`` returns or raises what the caller gets, after ``meanwhile``."""

    def __call__(self, decide: Callable[[], T], meanwhile: Callable[[], None]) -> T: ...


def in_turn(decide: Callable[[], T], meanwhile: Callable[[], None]) -> T:
    """Run both in the calling thread."""
    meanwhile()
    return decide()


class DatabaseThread:
    """One per consumer. Its thread has a database connection of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")

    def __enter__(self) -> Self:
        sys.setswitchinterval(_SWITCH_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.submit(connection.close)
        self._thread.shutdown()

    def run(self, decide: Callable[[], T], meanwhile: Callable[[], None]) -> T:
        """Run ``decide`` in the thread and ``meanwhile`` in the caller's; returns when both have ended."""
        deciding = self._thread.submit(_connected, decide)
        try:
            meanwhile()
        finally:
            wait([deciding])
        return deciding.result()


def _connected(decide: Callable[[], T]) -> T:
    close_old_connections()
    try:
        with database_roles.watched():
            return decide()
    except DatabaseLayerError as error:
        if kind_of(error) is not Kind.OF_THE_EVENT:
            connection.close()  # the next one may lead to another server
        raise
