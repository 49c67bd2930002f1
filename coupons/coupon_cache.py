"""The API's view of coupon rows: read from the database a few times a second per process.

A change made straight in the database is honoured within 2 seconds (docs/api.md, promise 8). A view is
kept COUPON_VIEW_TTL_MS (200): five reads a second cost nothing, and a top-up is seen at once.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings

from coupons.models import Coupon, CouponStatus

MOST_KEPT: Final = 10_000  #: of the views, and of the unknown
_IN_AT_ONCE: Final = 1_000
#: That there is no such coupon is kept as long as a view, but no longer than this: so long is a new coupon
#: refused that was asked for before it was made. Shorter, and a crowd that asks for coupons that do not exist
#: makes every group ask the database for them.
_UNKNOWN_KEPT_S: Final = 0.2
_views: dict[int, tuple[float, CachedCoupon]] = {}
_unknown: dict[int, float] = {}  # apart from the views: who asks for anything must not push out what is real


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedCoupon:
    """A coupon row as it was at most COUPON_VIEW_TTL_MS ago."""

    coupon_id: int
    epoch: str
    stock: int
    issued_count: int
    is_opened: bool
    opens_at: datetime | None
    closes_at: datetime | None

    def is_open(self, now: datetime) -> bool:
        return self.is_open_at(_to_ms(now))

    def is_open_at(self, timestamp_ms: int) -> bool:
        """As the consumer decides by the event's time: in whole milliseconds."""
        return (
            self.is_opened
            and (self.opens_at is None or timestamp_ms >= _to_ms(self.opens_at))
            and (self.closes_at is None or timestamp_ms < _to_ms(self.closes_at))
        )


def cached_coupon(coupon_id: int, *, fresh: bool = False) -> CachedCoupon | None:
    """The coupon, or None if there is none. ``fresh`` reads the row now."""
    return cached_coupons([coupon_id], fresh=fresh).get(coupon_id)


def cached_coupons(coupon_ids: Collection[int], *, fresh: bool = False) -> dict[int, CachedCoupon]:
    """Those of the coupons that there are, by id: the kept views, and the others' rows in one query."""
    now = time.monotonic()
    found: dict[int, CachedCoupon] = {}
    wanted: set[int] = set()
    for coupon_id in coupon_ids:
        expires, view = _views.get(coupon_id, (0.0, None))
        if view is not None and not fresh and now < expires:
            found[coupon_id] = view
        elif fresh or now >= _unknown.get(coupon_id, 0.0):
            wanted.add(coupon_id)
    if wanted:
        found |= _read(wanted, began_at=now)
    return found


def _read(coupon_ids: set[int], *, began_at: float) -> dict[int, CachedCoupon]:
    kept_s = settings.CONFIG.api.coupon_view_ttl_s
    ids = list(coupon_ids)
    views = {
        coupon.pk: _view_of(coupon)
        for start in range(0, len(ids), _IN_AT_ONCE)
        for coupon in Coupon.objects.filter(pk__in=ids[start : start + _IN_AT_ONCE])
    }
    if len(_views) + len(views) > MOST_KEPT:
        _views.clear()
    _views.update({coupon_id: (began_at + kept_s, view) for coupon_id, view in views.items()})
    missing = coupon_ids - views.keys()
    if len(_unknown) + len(missing) > MOST_KEPT:
        _unknown.clear()
    for coupon_id in missing:
        _views.pop(coupon_id, None)
        _unknown[coupon_id] = began_at + min(kept_s, _UNKNOWN_KEPT_S)
    return views


def _view_of(coupon: Coupon) -> CachedCoupon:
    return CachedCoupon(
        coupon_id=coupon.pk,
        epoch=coupon.epoch,
        stock=coupon.stock,
        issued_count=coupon.issued_count,
        is_opened=coupon.coupon_status == CouponStatus.OPENED,
        opens_at=coupon.opens_at,
        closes_at=coupon.closes_at,
    )


def _to_ms(moment: datetime) -> int:
    # As issuing counts it, rounding and all.
    return int(moment.timestamp() * 1000)


def forget_all() -> None:
    """Drop every view; the next claim reads the database."""
    _views.clear()
    _unknown.clear()
