"""What we do with the database: tables, rights, text, clock, replica. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight import clocks
from coupons.operations.preflight.database import reading, server
from coupons.operations.preflight.database.reading import KOREAN, Database
from coupons.operations.preflight.findings import Check, Finding, Subject, note, red, yellow
from runtime.operator_language import say


def schema(database: Database) -> Iterator[Finding]:
    yield from map(reading.as_finding, database.problems)


def rights(database: Database) -> Iterator[Finding]:
    by_reason: dict[str, list[str]] = {}
    refused_rights = {what: why for what, why in database.refused.items() if not server.is_read_only(why)}
    for what, why in refused_rights.items():
        by_reason.setdefault(why.partition(" for table ")[0], []).append(what)
    for why, refused in by_reason.items():
        more = say(" and {count} more", count=len(refused) - 1) if len(refused) > 1 else ""
        yield red(
            f"{refused[0]}{more}: {why}",
            say(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON the database of DATABASE_URL TO its user, "
                "on a primary"
            ),
        )


def korean(database: Database) -> Iterator[Finding]:
    back, as_hex = database.korean
    if database.is_mysql and (back, as_hex) != (KOREAN, KOREAN.encode().hex().upper()):
        yield red(
            say("Korean text comes back changed: the session's character set is not utf8mb4"),
            say(
                "leave init_connect and skip-character-set-client-handshake out of the server's configuration"
            ),
        )


def clock(database: Database) -> Iterator[Finding]:
    if database.clock is not None:
        yield from clocks.differences(say("the database"), database.clock)


def replica(database: Database) -> Iterator[Finding]:
    """Of DATABASE_REPLICA_URL. A replica that fails is passed over, so none of it is red."""
    found = database.replica
    if found is None:
        return
    mend = say("the replica that follows this database in DATABASE_REPLICA_URL")
    if not found.is_up:
        yield yellow(say("the replica does not answer: {error}", error=found.details.get("error", "")), mend)
    elif database.replica_lacks:
        yield yellow(say("the replica lacks our tables: {names}", names=database.replica_lacks), mend)
    elif not found.details.get("readOnly", True):
        yield note(say("the replica is not read-only: what is written there by mistake stays there"))


def _of_sqlite(database: Database) -> str:
    return "" if database.is_mysql else say("SQLite has none")


SUBJECT: Final = Subject(
    name="database",
    read=reading.read,
    told=lambda database: ", ".join(f"{name} {value}" for name, value in database.component.details.items()),
    checks=(
        Check(name="kind", right="a server for production", look=server.kind),
        Check(
            name="schema",
            right="character sets, tables, constraints and migrations are as they must be",
            look=schema,
        ),
        Check(name="read-only", right="it takes writes", look=server.read_only, blind=_of_sqlite),
        Check(name="rights", right="our user may do what the system does", look=rights, blind=_of_sqlite),
        Check(name="durability", right="a commit survives a crash", look=server.durability, blind=_of_sqlite),
        Check(
            name="connections",
            right="enough connections are allowed",
            look=server.connections,
            blind=_of_sqlite,
        ),
        Check(
            name="sessions",
            right="statements by hand are as safe as ours",
            look=server.sessions,
            blind=_of_sqlite,
        ),
        Check(
            name="time-zone",
            right="the server's own time zone is UTC",
            look=server.time_zone,
            blind=_of_sqlite,
        ),
        Check(name="korean", right="Korean text comes back as it was sent", look=korean, blind=_of_sqlite),
        Check(
            name="rows",
            right="long Korean text has room in rows and keys",
            look=server.rows,
            blind=_of_sqlite,
        ),
        Check(name="buffers", right="it has memory for rows", look=server.buffers, blind=_of_sqlite),
        Check(
            name="collations",
            right="all tables compare texts alike",
            look=server.collations,
            blind=_of_sqlite,
        ),
        Check(name="clock", right="its clock is ours", look=clock, blind=_of_sqlite),
        Check(name="disk", right="its disk has room", look=server.disk, blind=_of_sqlite),
        Check(name="replica", right="no replica is named, or it can answer for us", look=replica),
    ),
)
