"""Rows for tests."""

from __future__ import annotations

import itertools
import time
from typing import Any

from msgspec import structs
from uuid_utils.compat import uuid7

from coupons.eventlog.events import CouponIssueEvent, IssueRequest
from coupons.eventlog.place import Place
from coupons.models import Coupon, User

_ids = itertools.count(1)


def make_users(count: int = 1) -> list[int]:
    """New users; returns their ids."""
    users = [User(user_id=next(_ids), name=f"testuser{n}") for n in range(count)]
    User.objects.bulk_create(users)
    return [user.pk for user in users]


def make_coupon(*, stock: int = 100, **fields: Any) -> Coupon:
    values = {"description": "신규가입 할인쿠폰", "discount_amount": 5000, "stock": stock, **fields}
    coupon = Coupon.objects.create(coupon_id=next(_ids), **values)
    coupon.refresh_from_db()
    return coupon


def make_coupons(count: int, *, stock: int = 1) -> list[int]:
    """New coupons; returns their ids."""
    coupons = [
        Coupon(coupon_id=next(_ids), description=f"coupon {n}", discount_amount=1_000, stock=stock)
        for n in range(count)
    ]
    Coupon.objects.bulk_create(coupons)
    return [coupon.pk for coupon in coupons]


def make_event(*, coupon_id: int, user_id: int, **fields: Any) -> CouponIssueEvent:
    values: dict[str, Any] = {"request_id": uuid7(), "timestamp_ms": time.time_ns() // 1_000_000, **fields}
    return CouponIssueEvent(coupon_id=coupon_id, user_id=user_id, **values)


def make_requests(coupon_id: int, user_ids: list[int], *, partition: int = 0) -> list[IssueRequest]:
    """One event per user, at offsets from 0."""
    return [
        IssueRequest(event=make_event(coupon_id=coupon_id, user_id=user_id), place=Place(partition, offset))
        for offset, user_id in enumerate(user_ids)
    ]


def moved(request: IssueRequest, *, partition: int | None = None, offset: int | None = None) -> IssueRequest:
    """The same event at another place."""
    changed = {"partition": partition, "offset": offset}
    place = request.place._replace(**{name: at for name, at in changed.items() if at is not None})
    return structs.replace(request, place=place)
