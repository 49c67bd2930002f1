"""Leaves a database that is no primary any more, after a failover, as redis_roles.py leaves such a Redis.

The name in DATABASE_URL leads to the new primary, but for new connections only. The old primary lives on as
a replica and answers reads with rows that become older, so a kept connection would stay with it. Each thread
has a connection of its own and looks at it once a second, and at once after any thread of the process met a
sign: an error of a connection, or a server that takes no writes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection

log = logging.getLogger(__name__)

#: How often a thread looks at its connection. Shorter, and claims pay for it; longer, and after a failover
#: without any error claims read the old primary for longer.
LOOK_EVERY_S: Final = 1.0
#: Signs are passed on to the other threads so often at most. Shorter, and while every server is read-only all
#: threads do nothing but connect; longer, and some of them read the old primary for longer.
_TELL_EVERY_S: Final = 0.2


class _Signs:
    """How many signs this process has met. Each thread compares that with what it saw at its last look."""

    def __init__(self) -> None:
        self.count = 0
        self._told_at = float("-inf")

    def add(self) -> None:
        if time.monotonic() - self._told_at > _TELL_EVERY_S:
            self._told_at = time.monotonic()
            self.count += 1


class _Looked(threading.local):
    at = float("-inf")
    signs = -1


_signs: Final = _Signs()
_looked: Final = _Looked()


def suspect() -> None:
    """A sign of a failover: every thread looks at its connection before it uses it again. From any thread."""
    _signs.add()


def look() -> None:
    """Check that this thread's connection lives and that its server takes writes, if it is time for it.

    Django checks around each request, and only that the connection lives; this is for all threads that keep
    one. It asks the database: never in the loop.
    """
    if connection.in_atomic_block:
        return  # Django would close the connection under the transaction
    is_first = _looked.signs == _signs.count
    if is_first and time.monotonic() - _looked.at <= LOOK_EVERY_S and not connection.errors_occurred:
        return
    _looked.at, _looked.signs = time.monotonic(), _signs.count  # what comes meanwhile is looked at next time
    close_old_connections()
    if leave_read_only() and is_first:
        suspect()


@contextmanager
def watched() -> Iterator[None]:
    """Look at this thread's connection, and tell the other threads of an error that it meets within."""
    look()
    try:
        yield
    finally:
        if connection.errors_occurred:  # also of an error that was caught
            suspect()


def leave_read_only() -> bool:
    """Close this thread's connection if its server takes no writes. Returns whether it did.

    The next connection is made by name, which leads to the new primary. Never in the loop.
    """
    if connection.vendor != "mysql" or connection.connection is None or connection.in_atomic_block:
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@global.read_only")
            [read_only] = cursor.fetchone()
    except DatabaseLayerError:
        connection.close()  # the next query finds out whether the database is away
        return False
    if takes_writes(read_only):
        return False
    log.warning("this database takes no writes: connecting anew")
    connection.close()
    return True


def takes_writes(read_only: Any) -> bool:
    """From the server's ``read_only``: a number, and words since MariaDB 12."""
    return str(read_only).upper() in ("0", "OFF")
