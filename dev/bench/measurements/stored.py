"""stored, stored-ten-million: accepting and issuing beside claims of the past, in turn with tables without.

A machine that others share is a tenth faster or slower a few seconds later, all its processes alike. So both
kinds of tables are there all the time and change places (RENAME TABLE, which takes milliseconds), and every
two slices that are compared follow each other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection

from coupons.models import Coupon
from dev.bench import database, events
from dev.bench.judging import Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.slices import Slices, Turn
from dev.bench.stage import staged
from dev.bench.watching import Watch

#: A request id in the form of a UUIDv7 of long ago, rising with coupon and user, as with time.
_REQUEST_ID: Final = "CONCAT(LPAD(HEX(%s + u.user_id), 12, '0'), '70008', LPAD(HEX(u.user_id), 15, '0'))"
_LONG_AGO_MS: Final = 1_600_000_000_000
_AT_ONCE: Final = 100_000  #: rows of a statement: a transaction that the log of the database holds
#: What each kind of tables takes in a run is a tenth of a million.
_ROUNDS: Final = 8
_BACKLOG_SHARE: Final = 3  #: a backlog of this part of the scale's is decided in a second or two
_FLUSHED_PAGES: Final = 500
_FLUSH_S: Final = 120.0
_GROWING: Final = ("user_coupon", "coupon_issue_outcome")  #: with each claim


def million(run: Run) -> Outcome:
    figures = "accept, a million stored / empty", "issue, a million stored / empty"
    return _outcome(run, "stored", 1_000_000, *figures)


def ten_million(run: Run) -> Outcome:
    figures = "accept, ten million stored / empty", "issue, ten million stored / empty"
    return _outcome(run, "stored-ten-million", 10_000_000, *figures)


def _outcome(run: Run, name: str, claims: int, accept: str, issue: str) -> Outcome:
    with staged(run) as stage, _tables_beside() as tables:
        began = time.monotonic()
        _fill(claims, users=run.scale.users // 2)
        _flush(run)
        filled_s = time.monotonic() - began
        slices, [full] = started(stage)  # whose warm-up is in the full tables
        [empty] = database.make_coupons(1, stock=run.scale.users)
        at = {"full": full, "empty": empty}
        slices.in_turn(
            {f"accept, {kind}": tables.having(kind, slices.of_api(coupon)) for kind, coupon in at.items()},
            rounds=_ROUNDS,
        )
        slices.in_turn(
            {f"issue, {kind}": tables.having(kind, _issued(slices, coupon)) for kind, coupon in at.items()},
            rounds=_ROUNDS,
        )
        for kind, coupon in at.items():
            tables.have(kind)
            slices.complaints += stage.verify(coupon)
    return slices.outcome(
        name,
        slices.figure(accept, "accept, full", "accept, empty"),
        slices.figure(issue, "issue, full", "issue, empty"),
        stored=claims,
        filled_s=filled_s,
    )


def _issued(slices: Slices, coupon_id: int) -> Turn:
    """A turn of a backlog, written while the consumer stands still for a moment."""

    def take(name: str) -> None:
        stage = slices.stage
        users = stage.run.users.take(stage.run.scale.backlog // _BACKLOG_SHARE)
        watch = Watch(coupon_id, issued_before=database.issued(coupon_id))
        with slices.consumer.paused():
            events.write(stage.system.topic, events.events([coupon_id], users))
        watch.until(lambda issued: issued >= len(users))
        slices.rates[name].append(watch.per_s)

    return take


class _Tables:
    """Two of each table that grows: those with claims of the past ("full"), and those without ("empty")."""

    def __init__(self) -> None:
        self._has = "full"

    def having(self, kind: str, turn: Turn) -> Turn:
        """The turn, with these tables in their places."""

        def take(name: str) -> None:
            self.have(kind)
            turn(name)

        return take

    def have(self, kind: str) -> None:
        if kind == self._has:
            return
        renamed = ", ".join(
            f"{table} TO {table}_moving, {table}_beside TO {table}, {table}_moving TO {table}_beside"
            for table in _GROWING
        )
        with connection.cursor() as cursor:
            cursor.execute(f"RENAME TABLE {renamed}")
        self._has = kind


@contextmanager
def _tables_beside() -> Iterator[_Tables]:
    """Those that are there are to be filled; the empty ones beside them go at the end."""
    with connection.cursor() as cursor:
        for table in _GROWING:
            cursor.execute(f"DROP TABLE IF EXISTS {table}_beside")
            cursor.execute(f"SHOW CREATE TABLE {table}")
            made = str(cursor.fetchone()[1]).replace(f"`{table}`", f"`{table}_beside`", 1)
            # CREATE TABLE ... LIKE forgets foreign keys, and the names of constraints are a database's.
            cursor.execute(re.sub(r"CONSTRAINT `(\w+)`", r"CONSTRAINT `\1_beside`", made))
    tables = _Tables()
    try:
        yield tables
    finally:
        tables.have("full")
        with connection.cursor() as cursor:
            for table in _GROWING:
                cursor.execute(f"DROP TABLE {table}_beside")


def _fill(claims: int, *, users: int) -> None:
    """Issued claims as our consumer writes them, at most one per user and coupon, on as many coupons as that
    takes: `verify` finds them in order."""
    for first in range(0, claims, users):
        count = min(users, claims - first)
        [coupon_id] = database.make_coupons(1, stock=0)
        fill_coupon(coupon_id, count)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE user_coupon, coupon_issue_outcome")
        cursor.fetchall()


def fill_coupon(coupon_id: int, count: int, *, rank: str = "c.user_id") -> None:
    """Users 1 to ``count`` have won. ``rank``: which, in SQL."""
    epoch = int(Coupon.objects.get(pk=coupon_id).epoch)
    with connection.cursor() as cursor:
        for low in range(1, count + 1, _AT_ONCE):
            high = min(low + _AT_ONCE - 1, count)
            cursor.execute(
                "INSERT INTO user_coupon (user_id, coupon_id, status, issued_at, request_id) "
                f"SELECT u.user_id, %s, 'ISSUED', NOW(6), {_REQUEST_ID} "
                "FROM user u WHERE u.user_id BETWEEN %s AND %s",
                [coupon_id, _LONG_AGO_MS + coupon_id * 100_000_000, low, high],
            )
            cursor.execute(
                "INSERT INTO coupon_issue_outcome (request_id, coupon_id, coupon_epoch, user_id, status, "
                "user_coupon_id, claim_rank, requested_at, processed_at, stock_left, kafka_partition, "
                "kafka_offset) SELECT c.request_id, c.coupon_id, %s, c.user_id, 'ISSUED', c.user_coupon_id, "
                f"{rank}, NOW(6), c.issued_at, %s - {rank}, 0, {rank} - 1 FROM user_coupon c "
                "WHERE c.coupon_id = %s AND c.user_id BETWEEN %s AND %s",
                [epoch, count, coupon_id, low, high],
            )
        cursor.execute("UPDATE coupon SET issued_count = %s WHERE coupon_id = %s", [count, coupon_id])


def _flush(run: Run) -> None:
    """The rest of a bulk load's writing is not the consumer's: have it done now, with an end to waiting."""
    run.services.sql("SET GLOBAL innodb_max_dirty_pages_pct = 0")
    deadline = time.monotonic() + _FLUSH_S
    while database.dirty_pages() > _FLUSHED_PAGES and time.monotonic() < deadline:
        time.sleep(0.5)
    run.services.sql("SET GLOBAL innodb_max_dirty_pages_pct = 90")  # the servers' own default
    connection.close()
