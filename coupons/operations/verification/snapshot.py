"""One moment of the database for many questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def snapshot() -> Iterator[None]:
    """Give all reads inside the block the state of one moment, whatever is written meanwhile.

    Nothing is locked, so no consumer waits. Without it, a count and the rows that it counts would contradict
    each other while a consumer is at work.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("BEGIN DEFERRED")  # Django's atomic() would take SQLite's write lock
        else:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION READ ONLY")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")
