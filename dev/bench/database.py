"""Rows in bulk, and what is read while a measurement runs. MySQL and MariaDB alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.utils import timezone

from coupons.eventlog.events import CouponIssueEvent
from coupons.models import Coupon

_EMPTIED: Final = ("user_coupon", "coupon_issue_outcome", "coupon_dead_letter", "coupon")
#: mysqlclient cuts executemany's INSERT at 64 KiB, as if max_allowed_packet were small; servers allow 16 MB.
_STATEMENT_BYTES: Final = 8 * 2**20


def make_users(count: int) -> None:
    """Users 1 to ``count``; each statement doubles them, so that a million takes seconds."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO user (user_id, name) VALUES (1, 'user1')")
        made = 1
        while made < count:
            step = min(made, count - made)
            cursor.execute(
                "INSERT INTO user (user_id, name) SELECT user_id + %s, CONCAT('user', user_id + %s) "
                "FROM user WHERE user_id <= %s",
                [made, made, step],
            )
            made += step
        cursor.execute("ANALYZE TABLE user")
        cursor.fetchall()


def empty() -> None:
    """Everything but the users."""
    with connection.cursor() as cursor:
        cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        for table in _EMPTIED:
            cursor.execute(f"TRUNCATE TABLE {table}")
        cursor.execute("SET FOREIGN_KEY_CHECKS = 1")


def make_coupons(count: int, *, stock: int) -> list[int]:
    """Coupons older than any event, whatever the clocks do; returns their ids."""
    made_at = timezone.now() - timedelta(days=1)
    Coupon.objects.bulk_create(
        Coupon(description="할인쿠폰", discount_amount=5000, stock=stock, created_at=made_at)
        for _ in range(count)
    )
    # MySQL does not return the keys of a bulk insert: ask for the newest.
    return sorted(Coupon.objects.order_by("-pk").values_list("pk", flat=True)[:count])


def issued(first_coupon_id: int) -> int:
    """How many coupons are issued and committed, from this coupon on."""
    return _number("SELECT COALESCE(SUM(issued_count), 0) FROM coupon WHERE coupon_id >= %s", first_coupon_id)


def decided(first_coupon_id: int) -> int:
    """How many outcomes are committed, from this coupon on."""
    return _number("SELECT COUNT(*) FROM coupon_issue_outcome WHERE coupon_id >= %s", first_coupon_id)


def dirty_pages() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
        return int(cursor.fetchone()[1])


def _number(statement: str, *arguments: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return int(cursor.fetchone()[0])


CLAIM: Final = (
    "INSERT INTO user_coupon (user_coupon_id, user_id, coupon_id, status, issued_at, request_id, created_at, "
    "updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
OUTCOME: Final = (
    "INSERT INTO coupon_issue_outcome (request_id, coupon_id, coupon_epoch, user_id, status, user_coupon_id, "
    "claim_rank, requested_at, processed_at, stock_left, kafka_partition, kafka_offset) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


def rows_of(events: Sequence[CouponIssueEvent]) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """What the consumer writes for these events if all are issued: a user coupon and an outcome each."""
    now = datetime.now(UTC).replace(tzinfo=None)
    native = connection.features.has_native_uuid_field
    rows = []
    for number, event in enumerate(events, start=1):
        request_id = str(event.request_id) if native else event.request_id.hex
        user, coupon = event.user_id, event.coupon_id
        claim = (number, user, coupon, "ISSUED", now, request_id, now, now)
        left, offset = len(events) - number, number - 1
        outcome = (request_id, coupon, 0, user, "ISSUED", number, number, now, now, left, 0, offset)
        rows.append((claim, outcome))
    return rows


def insert_plainly(rows: Sequence[tuple[tuple[Any, ...], tuple[Any, ...]]]) -> None:
    """The baseline: the driver's own executemany, one INSERT a table and transaction, nothing else.

    As many events per transaction as the consumer decides in one.
    """
    size = settings.CONFIG.consumer.batch_size
    connection.ensure_connection()
    driver = connection.connection  # mysqlclient's, without Django's wrapper
    driver.autocommit(False)
    try:
        cursor = driver.cursor()
        cursor.max_stmt_length = _STATEMENT_BYTES
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            cursor.executemany(CLAIM, [claim for claim, _ in batch])
            cursor.executemany(OUTCOME, [outcome for _, outcome in batch])
            driver.commit()
    finally:
        driver.rollback()
        driver.autocommit(True)
