"""The API's view of coupon rows: read from the database a few times a second per process.

A change made straight in the database is honoured within 2 seconds (docs/api.md, promise 8). A view is
kept COUPON_VIEW_TTL_MS (500), and a top-up is seen within half a second. Kept for 200 ms, each claim of a
crowd on a hundred coupons took 3 us of a worker to read them again and again.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, starmap
from typing import Final

from django.conf import settings

from coupons.models import Coupon, CouponStatus, epoch_of
from runtime.chunks import in_chunks

#: A full cache is emptied: a bound on memory. Fewer, and a shop with as many open coupons reads rows all the
#: time; more, and invented ids fill more memory of each worker.
MOST_KEPT: Final = 10_000
#: Ids in one IN list: a bound on the statement's size, and few statements all the same.
_IN_AT_ONCE: Final = 1_000
#: A missing coupon is remembered as long as a view, and no longer than this. Shorter, and a crowd that asks
#: for coupons that do not exist makes every batch ask the database; longer, and a coupon that was asked for
#: before it was made is refused for so long after it was made.
_UNKNOWN_KEPT_S: Final = 0.2
#: What was asked for since the last reading is read with what is due, if it is due soon: claims on a hundred
#: coupons read rows twice in a view's life, and not with each batch. A bound on the statement.
_MOST_BESIDE: Final = 1_000
#: What a view is made of, in the order of ``_view_of``.
_COLUMNS: Final = (
    "coupon_id",
    "created_at",
    "stock",
    "issued_count",
    "coupon_status",
    "opens_at",
    "closes_at",
    "claims_paused_at",
    "eligible_only",
)
_views: dict[int, tuple[float, CachedCoupon]] = {}
_asked_lately: set[int] = set()
#: Apart from the views: questions for invented ids must not push out real coupons.
_unknown: dict[int, float] = {}


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
    is_paused: bool = False  #: claims are answered "later"
    eligible_only: bool = False  #: for listed users

    def is_open(self, now: datetime) -> bool:
        return self.is_open_at(_to_ms(now))

    def is_open_at(self, timestamp_ms: int) -> bool:
        """Whether the coupon is open, in whole milliseconds, as the consumer decides by the event's time."""
        return (
            self.is_opened
            and (self.opens_at is None or timestamp_ms >= _to_ms(self.opens_at))
            and (self.closes_at is None or timestamp_ms < _to_ms(self.closes_at))
        )


def cached_coupon(coupon_id: int, *, fresh: bool = False) -> CachedCoupon | None:
    """The coupon, or None if there is none. ``fresh`` reads the row now."""
    return cached_coupons([coupon_id], fresh=fresh).get(coupon_id)


def cached_coupons(coupon_ids: Collection[int], *, fresh: bool = False) -> dict[int, CachedCoupon]:
    """The coupons that exist, by id: kept views, and the other rows in one query for 1,000 of them.

    Asks the database, so it must not run in the loop of a worker; claims call it in their pool threads.
    """
    now = time.monotonic()
    if len(_asked_lately) < MOST_KEPT:
        _asked_lately.update(coupon_ids)
    found: dict[int, CachedCoupon] = {}
    wanted: set[int] = set()
    for coupon_id in coupon_ids:
        expires, view = _views.get(coupon_id, (0.0, None))
        if view is not None and not fresh and now < expires:
            found[coupon_id] = view
        elif fresh or now >= _unknown.get(coupon_id, 0.0):
            wanted.add(coupon_id)
    if wanted:
        found |= _read(wanted | _due_soon(now), began_at=now)
        found = {coupon_id: found[coupon_id] for coupon_id in coupon_ids if coupon_id in found}
    return found


def _due_soon(now: float) -> set[int]:
    """What was asked for since the last reading and expires within half of a view's life."""
    global _asked_lately
    lately, _asked_lately = _asked_lately, set()
    soon = now + settings.CONFIG.api.coupon_view_ttl_s / 2
    asked = tuple(lately)  # another thread may still add to it
    due = (coupon_id for coupon_id in asked if now < _views.get(coupon_id, (now,))[0] < soon)
    return set(islice(due, _MOST_BESIDE))


def _read(coupon_ids: set[int], *, began_at: float) -> dict[int, CachedCoupon]:
    kept_s = settings.CONFIG.api.coupon_view_ttl_s
    views = {
        view.coupon_id: view
        for some in in_chunks(coupon_ids, _IN_AT_ONCE)
        for view in starmap(_view_of, Coupon.objects.filter(pk__in=some).values_list(*_COLUMNS))
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


def _view_of(
    coupon_id: int,
    created_at: datetime,
    stock: int,
    issued_count: int,
    coupon_status: str,
    opens_at: datetime | None,
    closes_at: datetime | None,
    claims_paused_at: datetime | None,
    eligible_only: bool,
) -> CachedCoupon:
    """Of the values of ``_COLUMNS``: with a model of each row, reading them takes nearly twice as long."""
    return CachedCoupon(
        coupon_id=coupon_id,
        epoch=epoch_of(created_at),
        stock=stock,
        issued_count=issued_count,
        is_opened=coupon_status == CouponStatus.OPENED,
        opens_at=opens_at,
        closes_at=closes_at,
        is_paused=claims_paused_at is not None,
        eligible_only=eligible_only,
    )


def _to_ms(moment: datetime) -> int:
    # Rounded as issuing rounds it.
    return int(moment.timestamp() * 1000)


def forget_all() -> None:
    """Drop every view; the next claim reads the database."""
    _views.clear()
    _unknown.clear()
    _asked_lately.clear()
