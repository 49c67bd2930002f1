"""The database server's own variables. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight.database.reading import Database
from coupons.operations.preflight.findings import Finding, note, red, yellow
from runtime.operator_language import say

#: The session's, which kept connections outlive: Django closes ours after 60 s.
_SHORTEST_IDLE_S: Final = 90
#: A consumer's batch may take so long (its read timeout), and a claim's screening less.
_LONGEST_STATEMENT_S: Final = 20
_PAGE: Final = (
    16_384  #: bytes. A key over a group's and a topic's name, in utf8mb4, has 2,020: a third of it at most
)
_SMALLEST_POOL: Final = 64 << 20  #: half of what the servers ship with
_SMALLEST_ROOM: Final = 1 << 30
_SMALLEST_SHARE: Final = 0.05


def kind(database: Database) -> Iterator[Finding]:
    if not database.is_mysql:
        yield red(
            say("SQLite is for one machine and for trying it out: one writer at a time, no replica"),
            "DATABASE_URL=mysql://user:password@host:3306/name",
        )


def is_read_only(why: str) -> bool:
    """Whether a statement was refused because nobody may write, not because we may not."""
    return "read-only" in why.lower() or "read only" in why.lower()


def read_only(database: Database) -> Iterator[Finding]:
    for name in ("super_read_only", "read_only", "innodb_read_only"):
        if database.is_on(name):
            yield red(
                say(
                    "the database is read-only ({name}): a replica, or a primary that was demoted", name=name
                ),
                say("the primary in DATABASE_URL; or there: SET GLOBAL {name} = OFF", name=name),
            )
            return
    for name in ("transaction_read_only", "tx_read_only"):
        if database.is_on(name):
            yield red(say("{name} is on: transactions cannot write", name=name), f"SET GLOBAL {name} = OFF")
            return
    for what, why in database.refused.items():
        if is_read_only(why):
            yield red(
                say("the database refuses {what}: {why}", what=what, why=why),
                say("the primary in DATABASE_URL"),
            )
            return
    if recovery := database.number("innodb_force_recovery"):
        yield red(
            say("innodb_force_recovery is {recovery}", recovery=recovery),
            say("restart it without, once its data are saved"),
        )


def durability(database: Database) -> Iterator[Finding]:
    """Where a crash forgets commits, they are decided again, while users have been told another result."""
    flushed = database.variables.get("innodb_flush_log_at_trx_commit", "1")
    if flushed not in ("1", "3"):
        yield yellow(
            say(
                "innodb_flush_log_at_trx_commit is {flushed}: a crash forgets coupons that "
                "users were told of",
                flushed=flushed,
            ),
            say("SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in the server's configuration"),
        )
    if database.is_on("log_bin") and (synced := database.number("sync_binlog")) != 1:
        yield yellow(
            say(
                "sync_binlog is {synced}: after a crash replicas have other rows than the database",
                synced=synced,
            ),
            say("SET GLOBAL sync_binlog = 1, and in the server's configuration"),
        )
    if not database.is_on("innodb_doublewrite") and "innodb_doublewrite" in database.variables:
        yield yellow(
            say("innodb_doublewrite is off: a page that a crash tears is lost"),
            say("innodb_doublewrite = ON in the server's configuration, unless its disk writes pages whole"),
        )
    if database.variables.get("innodb_flush_method", "").lower() in ("nosync", "littlesync"):
        yield red(say("innodb_flush_method waits for no disk"), "innodb_flush_method = O_DIRECT")


def connections(database: Database) -> Iterator[Finding]:
    """Whether as many connect as there are threads that use the database."""
    api, expected = database.config.api, database.expected
    # Beside the pages' threads: screening and lookups, a reader of the log, health.
    of_apis = expected.apis * api.workers * (api.threads + 6)
    needed = of_apis + 4 * expected.consumers + 10  # for jobs and people
    shown = say(
        "{needed} may be needed: {apis} APIs × {workers} workers × {threads}, "
        "{consumers} consumers × 4, and 10",
        needed=needed,
        apis=expected.apis,
        workers=api.workers,
        threads=api.threads + 6,
        consumers=expected.consumers,
    )
    most = database.number("max_connections", 1 << 30)
    if most < needed:
        yield yellow(
            say("max_connections is {most}, and {shown}", most=most, shown=shown),
            f"SET GLOBAL max_connections = {2 * needed}",
        )
    own = database.number("max_user_connections")
    if 0 < own < needed:
        yield yellow(
            say("max_user_connections is {own}, and {shown}", own=own, shown=shown),
            f"SET GLOBAL max_user_connections = {2 * needed}",
        )


def sessions(database: Database) -> Iterator[Finding]:
    """Variables that our own sessions do not set, and those that statements by hand meet."""
    idle = database.number("wait_timeout", 28_800)
    if idle < _SHORTEST_IDLE_S:
        yield yellow(
            say("wait_timeout is {idle}: the server closes connections that we keep for 60 s", idle=idle),
            "SET GLOBAL wait_timeout = 28800",
        )
    mode = database.variables.get("sql_mode", "STRICT_TRANS_TABLES")
    if "STRICT_" not in mode:
        yield yellow(
            say(
                "the server's own sql_mode is {mode}: statements by hand cut what is too long",
                mode=mode or say("empty"),
            ),
            "SET GLOBAL sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
        )
    longest_s = min(
        (seconds for seconds in (_statement_s(database)) if seconds > 0), default=_LONGEST_STATEMENT_S
    )
    if longest_s < _LONGEST_STATEMENT_S:
        yield yellow(
            say(
                "the server ends statements after {longest_s:g} s, and a batch may take {longest_batch_s}",
                longest_s=longest_s,
                longest_batch_s=_LONGEST_STATEMENT_S,
            ),
            "SET GLOBAL max_statement_time = 0 (MariaDB), max_execution_time = 0 (MySQL)",
        )
    if database.is_on("general_log"):
        yield yellow(
            say("general_log is on: each statement is written to a log"), "SET GLOBAL general_log = OFF"
        )
    if not database.is_on("autocommit") and "autocommit" in database.variables:
        yield yellow(
            say("autocommit is off: statements by hand end in ROLLBACK"), "SET GLOBAL autocommit = ON"
        )


def _statement_s(database: Database) -> tuple[float, float]:
    text = database.variables.get("max_statement_time", "0")  # MariaDB's, in seconds with decimals
    return float(text or 0), database.number("max_execution_time") / 1000


def buffers(database: Database) -> Iterator[Finding]:
    size = database.number("innodb_buffer_pool_size", _SMALLEST_POOL)
    if size < _SMALLEST_POOL:
        yield yellow(
            say(
                "innodb_buffer_pool_size is {size} MiB: the rows of a crowd do not stay in memory",
                size=size >> 20,
            ),
            say("SET GLOBAL innodb_buffer_pool_size = 536870912, and in the server's configuration"),
        )


def collations(database: Database) -> Iterator[Finding]:
    found = {*database.collations.values()}
    if len(found) > 1:
        yield note(
            say(
                "our tables have several collations ({names}): texts of two of them cannot be "
                "compared by hand",
                names=", ".join(sorted(found)),
            ),
            say("ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE one of them"),
        )


def time_zone(database: Database) -> Iterator[Finding]:
    offset = database.utc_offset_s
    if offset is None:
        yield note(
            say("the server cannot tell how far its own time zone is from UTC: it has no time zone tables")
        )
    elif abs(offset) > 60:
        yield yellow(
            say(
                "the server's own time zone is {offset:+g} h from UTC: NOW() in statements by "
                "hand is not UTC, and our columns are",
                offset=offset / 3600,
            ),
            say("SET GLOBAL time_zone = '+00:00', and default-time-zone in the server's configuration"),
        )


def disk(database: Database) -> Iterator[Finding]:
    if database.free is None:
        if database.is_mysql:
            yield note(
                say("the database does not tell how full its disk is"), say("look at it where it runs")
            )
        return
    if database.free < _SMALLEST_ROOM or database.free < _SMALLEST_SHARE * database.total:
        finding = red if database.free < _SMALLEST_ROOM // 4 else yellow
        yield finding(
            say("the database's disk has {free:,} MiB free", free=database.free >> 20),
            say("room on its disk"),
        )


def rows(database: Database) -> Iterator[Finding]:
    """Whether keys over names of 255 characters, of up to four bytes each, have room."""
    page = database.number("innodb_page_size", _PAGE)
    if page < _PAGE:
        yield red(
            say("innodb_page_size is {page}: the key of coupon_log_position does not fit", page=page),
            say("a server that was made with innodb_page_size = 16384"),
        )
    wanted = database.variables.get("innodb_default_row_format", "dynamic")
    if wanted.lower() != "dynamic":
        yield yellow(
            say(
                "innodb_default_row_format is {wanted}: keys of new tables have 767 bytes, and "
                "Korean text needs more",
                wanted=wanted,
            ),
            say("SET GLOBAL innodb_default_row_format = DYNAMIC, and in the server's configuration"),
        )
    for name, row_format in database.row_formats.items():
        if row_format.upper() in ("COMPACT", "REDUNDANT", "COMPRESSED"):
            yield yellow(
                say(
                    "table {name} has the row format {row_format}: less room for long Korean text, or slower",
                    name=name,
                    row_format=row_format,
                ),
                f"ALTER TABLE `{name}` ROW_FORMAT=DYNAMIC",
            )
