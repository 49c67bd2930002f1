"""What the database says of itself, in some milliseconds. Writes nothing. In a preflight's thread."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.db import Error as DatabaseLayerError
from django.db import connection, connections
from django.db.utils import ProgrammingError

from coupons.operations.preflight import clocks
from coupons.operations.preflight.clocks import Reading
from coupons.operations.preflight.findings import Expected, Finding, Level, Unanswered, red
from coupons.operations.surroundings import judging, reading, wanted
from coupons.operations.surroundings.facts import Problem
from runtime import actuator, replica
from runtime.actuator import Component
from runtime.config import Config
from runtime.operator_language import say

log = logging.getLogger(__name__)

#: Text of one, two, three and four bytes a character.
KOREAN: Final = "쿠폰 é 🎟"
_DISK: Final = (
    "SELECT Available, Total FROM information_schema.DISKS WHERE @@datadir LIKE CONCAT(Path, '%') ORDER "
    "BY LENGTH(Path) DESC LIMIT 1"
)
#: How far the server's own time zone, that of sessions which set none, is from UTC. Seconds.
_OFFSET: Final = """
    SELECT TIMESTAMPDIFF(
        SECOND, UTC_TIMESTAMP(), CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@GLOBAL.time_zone))"""
_ROW_FORMATS: Final = """
    SELECT table_name, row_format, table_collation FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name IN ({names})"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """``variables``: the server's own, by name, as texts; empty on SQLite."""

    config: Config
    expected: Expected
    component: Component
    problems: Sequence[Problem]
    is_mysql: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)
    clock: Reading | None = None
    utc_offset_s: int | None = 0  #: of sessions that set no time zone; None: the server cannot tell
    korean: tuple[str, str] = ("", "")  #: KOREAN as it came back, and its bytes in hex as the server has them
    refused: Mapping[str, str] = field(default_factory=dict)  #: what we may not do -> why
    row_formats: Mapping[str, str] = field(default_factory=dict)  #: by table
    collations: Mapping[str, str] = field(default_factory=dict)  #: by table
    free: int | None = None  #: bytes of its disk; None: it does not tell
    total: int = 0
    replica: Component | None = None
    replica_lacks: str = ""  #: why the replica cannot answer for us; empty if it can

    def number(self, name: str, default: int = 0) -> int:
        try:
            return int(self.variables[name])
        except (KeyError, ValueError):
            return default

    def is_on(self, name: str) -> bool:
        """MariaDB and MySQL spell it in several ways; a missing variable is off."""
        return self.variables.get(name, "OFF").upper() not in ("OFF", "0", "NO", "")


def read(expected: Expected) -> Database:
    try:
        return _read(expected)
    except DatabaseLayerError as error:
        raise Unanswered(
            red(
                say("the database does not answer: {error}", error=_words(error)),
                say("start it, or name it right in DATABASE_URL; see also DATABASE_SSL_MODE"),
            )
        ) from error


def _read(expected: Expected) -> Database:
    component = actuator.database()
    problems = _problems()
    if not component.is_up:  # and refuses us: a database that is away raises in _problems
        raise Unanswered(*map(as_finding, problems))
    facts: dict[str, Any] = {
        "config": settings.CONFIG,
        "expected": expected,
        "component": component,
        "problems": problems,
        "is_mysql": reading.is_mysql(),
    }
    return Database(**facts | (_of_mysql() if reading.is_mysql() else {}) | _of_replica())


def as_finding(problem: Problem) -> Finding:
    return Finding(level=Level.RED if problem.stops else Level.YELLOW, what=problem.what, mend=problem.mend)


def _problems() -> list[Problem]:
    """Of the tables as they are, and of those that `migrate` would make."""
    found = [*judging.problems(), *judging.before_migrating()]
    return list({str(problem): problem for problem in found}.values())


def _of_mysql() -> dict[str, Any]:
    return {
        "variables": {name: str(value) for name, value in _rows("SHOW GLOBAL VARIABLES")},
        "clock": clocks.read(_now, now=time.time),
        "utc_offset_s": _rows(_OFFSET)[0][0],
        "korean": _rows("SELECT %s, HEX(%s)", KOREAN, KOREAN)[0],
        "refused": dict(_refused()),
        **_formats(),
        **_disk(),
    }


def _rows(statement: str, *parameters: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())


def _now() -> float:
    """The clock that fills in created_at and the like. In a session whose time zone is UTC."""
    return float(_rows("SELECT UNIX_TIMESTAMP(NOW(6))")[0][0])


def _refused() -> Iterator[tuple[str, str]]:
    """Statements of each kind on each of our tables, which concern no row."""
    existing = reading.tables(wanted.models().keys())
    for name, table in existing.items():
        columns = ", ".join(map(connection.ops.quote_name, table.columns))
        first, quoted = columns.partition(", ")[0], connection.ops.quote_name(name)
        for kind, statement in (
            ("SELECT", f"SELECT 1 FROM {quoted} WHERE 1 = 0"),
            ("INSERT", f"INSERT INTO {quoted} ({columns}) SELECT {columns} FROM {quoted} WHERE 1 = 0"),
            ("UPDATE", f"UPDATE {quoted} SET {first} = {first} WHERE 1 = 0"),
            ("DELETE", f"DELETE FROM {quoted} WHERE 1 = 0"),
        ):
            try:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
            except DatabaseLayerError as error:
                yield f"{kind} on {name}", _words(error)


def _formats() -> dict[str, dict[str, str]]:
    names = [*wanted.models()]
    statement = _ROW_FORMATS.format(names=", ".join(["%s"] * len(names)))
    found = _rows(statement, *names)
    return {
        "row_formats": {name: str(row_format) for name, row_format, _ in found},
        "collations": {name: str(collation) for name, _, collation in found},
    }


def _disk() -> dict[str, int]:
    """MariaDB's plugin tells, in KiB; of a server on this machine we can ask for its folder's disk."""
    try:
        if found := _rows(_DISK):
            return {"free": int(found[0][0]) << 10, "total": int(found[0][1]) << 10}
    except DatabaseLayerError as error:  # no plugin, or no right to it
        log.debug("the database does not tell how full its disk is: %s", error)
    if connection.settings_dict["HOST"] not in ("127.0.0.1", "::1", ""):
        return {}
    folder = str(_rows("SELECT @@datadir")[0][0])
    if not os.path.isabs(folder):  # of the server's own working folder, not of ours
        return {}
    try:
        counted = os.statvfs(folder)
    except OSError:  # in a container, or not ours to see
        return {}
    return {"free": counted.f_bavail * counted.f_frsize, "total": counted.f_blocks * counted.f_frsize}


def _of_replica() -> dict[str, Any]:
    if replica.ALIAS not in settings.DATABASES:
        return {}
    component = actuator.database(replica.ALIAS)
    lacks = ""
    if component.is_up:
        try:
            with connections[replica.ALIAS].cursor() as cursor:
                cursor.execute("SELECT user_coupon_id, request_id FROM user_coupon LIMIT 1")
        except ProgrammingError as error:
            lacks = _words(error)
    return {"replica": component, "replica_lacks": lacks}


def _words(error: DatabaseLayerError) -> str:
    """The server's own, without its number."""
    return str(error.args[-1] if error.args else type(error).__name__)
