"""How many requests for a coupon are accepted and not yet decided."""

from __future__ import annotations

from coupons import coupon_cache
from coupons.claims import lookup_threads, undecided
from coupons.eventlog import deferred
from coupons.gate.admission import GateUnavailable, gate


def size(coupon_id: int) -> int | None:
    """How many requests of the coupon are undecided; None if there is no such coupon.

    The gate counts them, or the log where the gate is empty or Redis is away. Raises
    backlog.LogUnavailable when neither answers. Runs in the loop: the greenlet sleeps while threads ask.
    """
    is_there, reserved = lookup_threads.in_thread(_reserved, coupon_id)
    if is_there and reserved is None:
        return undecided.index.count(coupon_id) + lookup_threads.in_thread(deferred.count, coupon_id)
    return reserved


def _reserved(coupon_id: int) -> tuple[bool, int | None]:
    """Whether the coupon exists, and what its gate counts."""
    if coupon_cache.cached_coupon(coupon_id) is None:
        return False, None
    try:
        return True, gate.reserved(coupon_id)
    except GateUnavailable:
        return True, None
