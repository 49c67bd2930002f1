"""Statements for many rows at once, in SQL that MySQL, MariaDB and SQLite share.

For the statements of claims and issuing, which run all the time: making a statement with the ORM takes four
times as long as running it (docs/performance.md). The values are whole numbers, UUIDs and our own words,
which need no escaping. So they stand in the statement itself, and no limit on parameters counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from django.db import connection

from runtime.chunks import in_chunks

#: Rows of one INSERT, some 200 kB: far below max_allowed_packet (4 MB at least) and SQLite's longest SQL.
#: Fewer, and a batch takes more statements.
_ROWS_AT_ONCE: Final = 1_000
_UUID: Final = "'%032x'"  #: takes two thirds of UUID.hex's time
_ROW: Final = "ROW(_ascii'%032x')"
_PAIR: Final = "(%d,%d)"
_PAIR_ROW: Final = "ROW(%d,%d)"
_PAIR_SELECTED: Final = "SELECT %d,%d"


def moment(moment: datetime) -> str:
    """The moment as text that a DATETIME column takes."""
    return str(connection.ops.adapt_datetimefield_value(moment))


@lru_cache(maxsize=1024)  # in a rush many requests share a millisecond
def moment_of(timestamp_ms: int) -> str:
    return moment(datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC))


def numbers(numbers: Iterable[int]) -> str:
    return ",".join([f"{number:d}" for number in numbers])


def uuids(ids: Iterable[UUID]) -> str:
    return ",".join([_UUID % each.int for each in ids])


def among(ids: Iterable[UUID], *, table: str, column: str) -> str:
    """What follows FROM to find the rows of a table whose text in this column is one of these ids.

    MySQL takes 15 us for each text of a long IN list, and 4 us for each row of a table that it joins. As
    ASCII the ids compare with any character set and collation.
    """
    if not _has_rows_of_values():
        return f"{table} WHERE {column} IN ({uuids(ids)})"
    rows = ",".join([_ROW % each.int for each in ids])
    return f"(VALUES {rows}) AS asked (id) STRAIGHT_JOIN {table} ON {column} = id"


def asked(pairs: Iterable[tuple[int, int]]) -> str:
    """A table ``asked (coupon_id, user_id)`` of these pairs, as a statement begins that joins others to it.

    With LEFT JOIN, so that each pair is looked for in the unique index of a table. Asked for as
    ``coupon_id = 1 AND user_id IN (…)``, MariaDB reads all rows of the coupon where its statistics are from
    before the rush: a hundred thousand rows for a batch of twelve. No pair: no statement.
    """
    if _is_old_mysql():
        rows = " UNION ALL ".join([_PAIR_SELECTED % each for each in pairs])
    else:
        pair = _PAIR_ROW if _has_rows_of_values() else _PAIR
        rows = f"VALUES {','.join([pair % each for each in pairs])}"
    return f"WITH asked (coupon_id, user_id) AS ({rows}) "


def found(table: str, name: str) -> str:
    """What joins the table's row of each pair, as ``name``; its columns are null where there is no row."""
    return (
        f" LEFT JOIN {table} {name} ON {name}.coupon_id = asked.coupon_id AND {name}.user_id = asked.user_id"
    )


def _is_old_mysql() -> bool:
    server: Any = connection
    return server.vendor == "mysql" and not server.mysql_is_mariadb and server.mysql_version < (8, 0, 19)


def _has_rows_of_values() -> bool:
    """Whether the server is MySQL, from 8.0.19. MariaDB spells such rows otherwise, and needs none."""
    server: Any = connection
    return server.vendor == "mysql" and not server.mysql_is_mariadb and server.mysql_version >= (8, 0, 19)


def select(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def insert(statement: str, values: Iterable[str], *, returning: str = "") -> list[tuple[Any, ...]]:
    returned: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for some in in_chunks(values, _ROWS_AT_ONCE):
            cursor.execute(statement + ",".join(some) + returning)
            if returning:
                returned += cursor.fetchall()
    return returned
