"""A database of a test's own beside the suite's, for tests that alter tables."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.core.management import call_command
from django.db import connection, connections

_numbers = itertools.count(1)


def sql(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def own_database(*, charset: str = "utf8mb4", migrated: bool = True) -> Iterator[str]:
    """This process works on a new database meanwhile. Yields its URL, for other processes."""
    theirs = connection.settings_dict["NAME"]
    number = next(_numbers)
    if connection.vendor == "mysql":
        name = f"test_{os.getpid()}_own_{number}"
        sql(f"CREATE DATABASE {name} CHARACTER SET {charset}")
        url = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"
    else:
        name = str(Path(theirs).with_name(f"own-{number}.sqlite3"))
        url = f"sqlite:///{quote(name)}"
    _use(name)
    try:
        if migrated:
            call_command("migrate", verbosity=0)
        yield url
    finally:
        _use(theirs)
        if connection.vendor == "mysql":
            sql(f"DROP DATABASE {name}")


def _use(name: str) -> None:
    """All threads' next connections lead there: they share these settings."""
    connection.close()
    connections.settings["default"]["NAME"] = name
