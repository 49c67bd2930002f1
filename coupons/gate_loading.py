"""Fill an empty gate from the truth: the coupon's row and the undecided events of the log.

Redis may have been flushed, restarted, replaced, or never have seen the coupon. The log is read
first and the database second, so that a request decided in between is seen as decided.

Reservations that stand in an empty gate and are not decided are kept, with or without an event: their
claims may be on their way to the log, and a leaked one is told its end only while it is known.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from django.db.models import QuerySet

from coupons import backlog, catalog
from coupons.admission import Claim, gate
from coupons.backlog import LogUnavailable
from coupons.catalog import CouponView
from coupons.models import IssueOutcome, UserCoupon
from coupons.producer import event_producer
from couponsite import metrics

__all__ = ["LogUnavailable", "load"]

log = logging.getLogger(__name__)

_LOG_TIMEOUT_S: Final = 8.0  #: a claim is answered within ten seconds, and a large backlog takes some to read
_IN_AT_ONCE: Final = 1000
_one_at_a_time = threading.Lock()


def load(coupon: CouponView) -> CouponView:
    """Load the coupon's gate. Returns the coupon as just read.

    Raises LogUnavailable when the log cannot be read (without it, accepted requests would be
    forgotten and their slots given away), GateUnavailable when Redis is away.
    """
    # The threads of a process that met the same empty gate wait for one reading, and no longer than it lasts.
    if event_producer().is_down or not _one_at_a_time.acquire(timeout=_LOG_TIMEOUT_S):
        raise LogUnavailable("the broker does not answer")
    try:
        coupon = catalog.coupon_view(coupon.coupon_id, fresh=True) or coupon
        if gate.is_loaded(coupon):
            return coupon
        standing = gate.standing(coupon)
        try:
            undecided = [
                Claim(
                    coupon_id=coupon.coupon_id,
                    user_id=request.event.user_id,
                    request_id=request.event.event_id,
                )
                for request in backlog.read(timeout_s=_LOG_TIMEOUT_S, coupon_id=coupon.coupon_id).requests
            ]
        except LogUnavailable:
            metrics.GATE_LOADS.labels(result="log_unavailable").inc()
            event_producer().suspect()
            raise
        fresh = catalog.coupon_view(coupon.coupon_id, fresh=True) or coupon
        # The log comes first: where a user has two requests, the reservation is of the first.
        loaded = gate.load(fresh, _still_undecided(coupon.coupon_id, [*undecided, *standing]))
    finally:
        _one_at_a_time.release()
    metrics.GATE_LOADS.labels(result="loaded" if loaded else "was_loaded").inc()
    log.info("gate of coupon %s loaded: %d requests under way", coupon.coupon_id, len(undecided))
    return fresh


def _still_undecided(coupon_id: int, claims: list[Claim]) -> list[Claim]:
    """Without those that were decided since, and those whose user has the coupon (they will be rejected)."""
    over = set(_in_chunks(IssueOutcome.objects.values_list("pk"), "pk", [c.request_id for c in claims]))
    holding = set(
        _in_chunks(
            UserCoupon.objects.filter(coupon_id=coupon_id).values_list("user_id"),
            "user_id",
            [c.user_id for c in claims],
        )
    )
    return [c for c in claims if c.request_id not in over and c.user_id not in holding]


def _in_chunks(rows: QuerySet, field: str, values: list) -> list:  # type: ignore[type-arg]
    found = []
    for start in range(0, len(values), _IN_AT_ONCE):
        found += [row[0] for row in rows.filter(**{f"{field}__in": values[start : start + _IN_AT_ONCE]})]
    return found
