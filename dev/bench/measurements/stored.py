"""stored, stored-ten-million: accepting and issuing beside claims of the past, in turn with empty tables.

Filling takes half a minute, and a machine that others share is a tenth slower or faster a minute later, all
its processes alike: so each visit to full tables stands between two to empty ones, and none is long.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any, Final

from django.db import connection

from coupons.models import Coupon
from dev.bench import database
from dev.bench.judging import Figure, Outcome
from dev.bench.measurements.issuing import decide
from dev.bench.run import Run
from dev.bench.slices import Slices
from dev.bench.stage import Stage, staged

#: A request id in the form of a UUIDv7 of long ago, rising with coupon and user, as with time.
_REQUEST_ID: Final = "CONCAT(LPAD(HEX(%s + u.user_id), 12, '0'), '70008', LPAD(HEX(u.user_id), 15, '0'))"
_LONG_AGO_MS: Final = 1_600_000_000_000
_AT_ONCE: Final = 100_000  #: rows of a statement: a transaction that the log of the database holds
_ROUNDS: Final = 2  #: slices of a visit
_BACKLOGS: Final = 4  #: decided in one go: one alone is over in three seconds, which differ by a tenth
_FULL_VISITS: Final = 3
_FLUSHED_PAGES: Final = 500
_FLUSH_S: Final = 120.0


def million(run: Run) -> Outcome:
    figures = "accept, a million stored / empty", "issue, a million stored / empty"
    return _outcome(run, "stored", [0, 1_000_000] * _FULL_VISITS + [0], *figures)


def ten_million(run: Run) -> Outcome:
    figures = "accept, ten million stored / empty", "issue, ten million stored / empty"
    return _outcome(run, "stored-ten-million", [0, 10_000_000, 0], *figures)


def _outcome(run: Run, name: str, stored: Sequence[int], accept: str, issue: str) -> Outcome:
    """A visit for each number of stored claims, of which every second one is 0."""
    complaints: list[str] = []
    visits = [_visit(run, claims, complaints) for claims in stored]
    figures = [_figure(accept, visits, "accepted_per_s"), _figure(issue, visits, "issued_per_s")]
    return Outcome(name=name, figures=figures, complaints=complaints, details={"visits": visits})


def _figure(name: str, visits: Sequence[Mapping[str, Any]], what: str) -> Figure:
    """Each visit to full tables, beside the one before it and the one after it."""
    rates = [float(visit[what]) for visit in visits]
    beside = [mean(pair) for pair in zip(rates[0::2], rates[2::2], strict=False)]
    return Figure(name=name, ours=mean(rates[1::2]), baseline=mean(beside))


def _visit(run: Run, claims: int, complaints: list[str]) -> dict[str, Any]:
    """One hot coupon: a backlog decided by a consumer, then claims alone; both beside what is stored."""
    with staged(run) as stage:
        began = time.monotonic()
        if claims:
            _fill(claims, users=run.scale.users // 2)
            _flush(run)
        filled_s = time.monotonic() - began
        hot, coupon_id = database.make_coupons(2, stock=run.scale.users)
        decided = decide(stage, [hot], _BACKLOGS * run.scale.backlog)
        slices = _accepted(stage, coupon_id)
        complaints += [*slices.complaints, *stage.verify(hot), *stage.verify(coupon_id)]
    return {
        "stored": claims,
        "filled_s": filled_s,
        "issued_per_s": decided["per_s"],
        "issued_cpu_us": decided["cpu_us_per_event"],
        "accepted_per_s": median(slices.rates["ours"]),
        "slices": slices.slices,
    }


def _accepted(stage: Stage, coupon_id: int) -> Slices:
    stage.start_api()
    stage.load(coupon_id, seconds=stage.run.scale.warm_s)
    stage.wait_decided(coupon_id)
    slices = Slices(stage=stage, consumer=stage.system.consumers[0])
    slices.in_turn({"ours": slices.of_api(coupon_id)}, rounds=_ROUNDS)
    return slices


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
