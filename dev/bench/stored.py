"""Claims of the past, millions of them, as if our consumer had issued them: `verify` finds them in order."""

from __future__ import annotations

from django.db import connection

from coupons.models import Coupon
from dev.bench import database

#: A request id in the form of a UUIDv7 of long ago, rising with coupon and user, as with time.
_REQUEST_ID = "CONCAT(LPAD(HEX(%s + u.user_id), 12, '0'), '70008', LPAD(HEX(u.user_id), 15, '0'))"
_LONG_AGO_MS = 1_600_000_000_000


def fill(claims: int, *, users: int) -> None:
    """``claims`` issued claims, at most one per user and coupon, on as many coupons as that takes."""
    for first in range(0, claims, users):
        count = min(users, claims - first)
        [coupon_id] = database.make_coupons(1, stock=0)
        _fill_coupon(coupon_id, count)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE user_coupon, coupon_issue_outcome")
        cursor.fetchall()


def _fill_coupon(coupon_id: int, count: int) -> None:
    at_once = 100_000
    epoch = int(Coupon.objects.get(pk=coupon_id).epoch)
    with connection.cursor() as cursor:
        for low in range(1, count + 1, at_once):
            high = min(low + at_once - 1, count)
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
                "c.user_id, NOW(6), c.issued_at, %s - c.user_id, 0, c.user_id - 1 FROM user_coupon c "
                "WHERE c.coupon_id = %s AND c.user_id BETWEEN %s AND %s",
                [epoch, count, coupon_id, low, high],
            )
        cursor.execute("UPDATE coupon SET issued_count = %s WHERE coupon_id = %s", [count, coupon_id])
