"""All problems that keep the system from working on this database, the worst first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from django.core.management.base import CommandError
from django.db import Error as DatabaseLayerError
from django.db import NotSupportedError, OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from coupons.operations.surroundings import mending, reading, wanted
from coupons.operations.surroundings.comparing import HARMLESS, Difference, differences
from coupons.operations.surroundings.facts import DatabaseServer, Problem
from runtime.database_server import SSL_CONNECTION_ERROR
from runtime.operator_language import marked, say

APP: Final = "coupons"
MIGRATE: Final = "python manage.py migrate"
ADOPT: Final = "python manage.py adopt --dry-run"
_OLDEST: Final = {"MariaDB": (10, 6), "MySQL": (8, 0, 16), "SQLite": (3, 35)}
#: A message as large as a topic takes by default (1 MB) has twice that with every byte escaped. A smaller
#: packet, and the server might refuse a statement for ever; a larger demand, and working servers are refused.
_SMALLEST_PACKET: Final = 4 << 20
#: Mends of a connection's errors that waiting does not mend, by the server's number.
_REFUSED: Final = {
    1044: marked("GRANT ALL PRIVILEGES ON the database of DATABASE_URL TO its user"),
    1045: marked("the right user and password in DATABASE_URL"),
    1049: marked("CREATE DATABASE … CHARACTER SET utf8mb4, or the right name in DATABASE_URL"),
    1115: marked("a server that knows utf8mb4"),
    1193: marked(
        "a server (or a proxy before it) that knows sql_mode, time_zone and innodb_lock_wait_timeout"
    ),
    1227: marked("a user, or a proxy, that may SET sql_mode and time_zone for its own session"),
    1231: marked(
        "a server (or a proxy before it) that takes sql_mode STRICT_TRANS_TABLES and time_zone +00:00"
    ),
    1698: marked("a user in DATABASE_URL who may log in with a password"),
    SSL_CONNECTION_ERROR: marked("the right DATABASE_SSL_MODE and DATABASE_SSL_CA, or a server with TLS"),
}
#: Words of a handshake that cannot succeed. Another that failed may have been cut, by a server that restarts.
_WRONG_TLS: Final = ("certificate", "SSL is required", "no TLS")


def problems() -> list[Problem]:
    """The problems; empty if there are none. Raises OperationalError while the database is away."""
    return _sorted_out(lambda server: [*of_server(server), *_of_schema()])


def before_migrating() -> list[Problem]:
    """Problems that would make `migrate` fail or its tables unusable. Raises OperationalError as above."""
    return _sorted_out(lambda server: [*of_server(server), *_of_new_tables(server), *_of_others_tables()])


def _sorted_out(look: Callable[[DatabaseServer], list[Problem]]) -> list[Problem]:
    try:
        found = look(reading.server())
    except NotSupportedError as error:  # Django raises it for a server that is too old
        return [Problem(what=str(error).rstrip("."), mend=say("a newer database server"))]
    except OperationalError as error:
        return [_of_connection(error)]
    return sorted(found, key=lambda problem: not problem.stops)


def in_one_line(found: list[Problem]) -> str:
    """The first problem that stops the system, and how many more there are; empty if none stops it."""
    stopping = [problem for problem in found if problem.stops]
    if not stopping:
        return ""
    more = say(" ({count} more: python manage.py check --database default)", count=len(stopping) - 1)
    return say("the database cannot be worked on: {problem}", problem=stopping[0]) + (
        more if len(stopping) > 1 else ""
    )


def refuse() -> None:
    """Raise CommandError, one line, if the system cannot work on this database.

    A database that is away passes: the caller waits for it, or fails at its first query.
    """
    try:
        line = in_one_line(problems())
    except DatabaseLayerError:
        connection.close()
        return
    if line:
        raise CommandError(line)


def _of_connection(error: OperationalError) -> Problem:
    """The problem behind a refused connection. Raises the error itself if waiting may mend it."""
    number = error.args[0] if error.args else None
    is_tls_cut = number == SSL_CONNECTION_ERROR and not any(word in str(error) for word in _WRONG_TLS)
    if isinstance(number, int) and number in _REFUSED and not is_tls_cut:
        return Problem(
            what=say("it refuses the connection ({number}, {told})", number=number, told=error.args[1]),
            mend=say(_REFUSED[number]),
        )
    raise error


def of_server(server: DatabaseServer) -> Iterator[Problem]:
    """The problems of the server itself, whatever its tables are. Pure."""
    oldest = _OLDEST[server.product]
    if server.version < oldest:
        version = ".".join(map(str, server.version))
        yield Problem(
            what=say("{product} {version} is too old", product=server.product, version=version),
            mend=say(
                "{product} {version} or newer", product=server.product, version=".".join(map(str, oldest))
            ),
        )
    if server.product == "SQLite":
        return
    if not server.sql_mode & {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"}:
        yield _not_set("sql_mode", ",".join(sorted(server.sql_mode)) or say("empty"), "STRICT_TRANS_TABLES")
    if server.time_zone not in ("+00:00", "UTC"):
        yield _not_set("time_zone", server.time_zone, "+00:00")
    if server.isolation != "READ-COMMITTED":
        yield _not_set(say("the isolation level"), server.isolation, "READ-COMMITTED")
    if server.max_packet < _SMALLEST_PACKET:
        yield Problem(
            what=say(
                "max_allowed_packet is {max_packet}, and {needed} are needed",
                max_packet=server.max_packet,
                needed=_SMALLEST_PACKET,
            ),
            mend=say(
                "SET GLOBAL max_allowed_packet = {wanted}, and the same in the server's configuration",
                wanted=16 << 20,
            ),
        )
    if server.binlog_format == "STATEMENT":
        yield Problem(
            what=say("binlog_format is STATEMENT, with which READ COMMITTED cannot write"),
            mend=say("SET GLOBAL binlog_format = 'ROW', and the same in the server's configuration"),
        )
    for name in server.switched_off:
        yield Problem(
            what=say("{name} is off: constraints are not looked at", name=name),
            mend=say("SET GLOBAL {name} = 1, and the same in the server's configuration", name=name),
        )


def _not_set(name: str, found: str, needed: str) -> Problem:
    return Problem(
        what=say(
            "{name} is {found} although this connection has set {needed}",
            name=name,
            found=found,
            needed=needed,
        ),
        mend=say("a direct connection in DATABASE_URL, or a proxy that passes SET on for the whole session"),
    )


def _of_new_tables(server: DatabaseServer) -> Iterator[Problem]:
    if server.charset != wanted.CHARSET:
        yield Problem(
            what=say(
                "new tables would have the character set {charset}, which cannot hold every name",
                charset=server.charset,
            ),
            mend=f"ALTER DATABASE {connection.ops.quote_name(str(connection.settings_dict['NAME']))} "
            f"CHARACTER SET {wanted.CHARSET}",
        )


def _of_others_tables() -> Iterator[Problem]:
    if found := others_tables():
        yield Problem(
            what=say(
                "its tables {names} are another application's, or were made by hand", names=", ".join(found)
            ),
            mend=say("{command}, which says what differs and takes them over", command=ADOPT),
        )


def others_tables() -> list[str]:
    """Tables with our names that no migration of ours has made."""
    if any(app == APP for app, _ in MigrationRecorder(connection).applied_migrations()):
        return []
    return sorted(reading.tables(wanted.models().keys()))


def unapplied() -> list[str]:
    """Migrations of this code that are not applied, in order, also those in front of applied ones."""
    loader = MigrationLoader(connection)
    plan = [key for leaf in loader.graph.leaf_nodes() for key in loader.graph.forwards_plan(leaf)]
    return [".".join(key) for key in dict.fromkeys(plan) if key not in loader.applied_migrations]


def _of_schema() -> Iterator[Problem]:
    """The differences of our tables; tables that are not ours, or not ours yet, are passed over."""
    if missing := unapplied():
        yield from list(_of_others_tables()) or [_not_migrated(missing)]
        return
    for difference in differences(wanted.tables(), reading.tables(wanted.models().keys())):
        yield Problem(
            what=str(difference),
            mend=mend_of(difference),
            stops=difference.kind not in HARMLESS,
        )


def mend_of(difference: Difference) -> str:
    if not reading.is_mysql():
        return say("a database file that `python manage.py migrate` made")
    if statements := mending.statements(difference):
        return "; ".join(statements)
    return say(
        "a default: ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT …",
        table=difference.table,
        name=difference.name,
    )


def _not_migrated(missing: list[str]) -> Problem:
    migrations = (
        missing[0]
        if len(missing) == 1
        else say("{first} and {count} more", first=missing[0], count=len(missing) - 1)
    )
    return Problem(what=say("it is not migrated ({migrations})", migrations=migrations), mend=MIGRATE)
