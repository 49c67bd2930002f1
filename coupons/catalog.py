"""The API's view of coupon rows: read from the database a few times a second per process.

The contract lets a change made straight in the database take 2 seconds to be honoured. A view is
kept COUPON_VIEW_TTL_MS (200): five reads a second cost nothing, and a top-up is seen at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.utils import timezone

from coupons.models import Coupon, CouponStatus

_MOST_KEPT: Final = 10_000
_views: dict[int, tuple[float, CouponView]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponView:
    """A coupon row as it was at most COUPON_VIEW_TTL_MS ago."""

    coupon_id: int
    epoch: str
    stock: int
    issued_count: int
    is_opened: bool
    opens_at: datetime | None
    closes_at: datetime | None

    def is_open(self, now: datetime) -> bool:
        return (
            self.is_opened
            and (self.opens_at is None or now >= self.opens_at)
            and (self.closes_at is None or now < self.closes_at)
        )


def coupon_view(coupon_id: int, *, fresh: bool = False) -> CouponView | None:
    """The coupon, or None if there is none. ``fresh`` reads the row now."""
    expires, view = _views.get(coupon_id, (0.0, None))
    if view is not None and not fresh and time.monotonic() < expires:
        return view
    started = time.monotonic()
    coupon = Coupon.objects.filter(pk=coupon_id).first()
    if coupon is None:
        _views.pop(coupon_id, None)  # not remembered: a coupon made this second can be claimed this second
        return None
    view = CouponView(
        coupon_id=coupon.pk,
        epoch=coupon.epoch,
        stock=coupon.stock,
        issued_count=coupon.issued_count,
        is_opened=coupon.coupon_status == CouponStatus.OPENED,
        opens_at=coupon.opens_at,
        closes_at=coupon.closes_at,
    )
    if len(_views) >= _MOST_KEPT:
        _views.clear()
    _views[coupon_id] = (started + settings.CONFIG.api.coupon_view_ttl_s, view)
    return view


def forget_all() -> None:
    """Drop every view; the next claim reads the database."""
    _views.clear()


def is_open_now(view: CouponView) -> bool:
    return view.is_open(timezone.now())
