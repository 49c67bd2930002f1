"""Tell a gate what it missed: Redis was away when a batch was decided, and kept what it had.

Such a gate counts too few as issued, and its reservations of decided requests stand. Together they
may still be the right sum, but nothing corrects them until the next batch of that coupon, and after
the last one nothing ever would.
"""

from __future__ import annotations

import logging

from django.db import transaction

from coupons.admission import Settlement, gate
from coupons.models import Coupon, IssueOutcome

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 10_000


class CatchingUp:
    """Looks now and then. Who is behind once may be waiting for a consumer between commit and telling."""

    def __init__(self) -> None:
        self._behind: dict[int, tuple[int, int]] = {}

    def look(self) -> list[int]:
        """Tell the gates that are as far behind as they were at the last look; returns their coupons.

        Raises GateUnavailable or a database error.
        """
        counts = gate.issued_counts()
        behind = {
            coupon_id: (counts[coupon_id], issued_count)
            for coupon_id, issued_count in Coupon.objects.filter(pk__in=counts).values_list(
                "pk", "issued_count"
            )
            if counts[coupon_id] < issued_count
        }
        still = [coupon_id for coupon_id, pair in behind.items() if self._behind.get(coupon_id) == pair]
        self._behind = behind
        for coupon_id in still:
            _tell(coupon_id)
        return still


def _tell(coupon_id: int) -> None:
    """Count and decided reservations change in one step: no slot is counted twice or not at all."""
    reserved = gate.reservations(limit=_MOST_AT_ONCE, coupon_id=coupon_id)
    with transaction.atomic():
        # Under the row's lock the outcomes are those that the row counts.
        coupon = Coupon.objects.select_for_update().filter(pk=coupon_id).first()
        request_ids = [claim.request_id for claim in reserved]
        decided = set(IssueOutcome.objects.filter(pk__in=request_ids).values_list("pk", flat=True))
    if coupon is None:
        return
    over = [(claim, False) for claim in reserved if claim.request_id in decided]
    gate.settle(
        [Settlement(coupon_id=coupon_id, epoch=coupon.epoch, issued_count=coupon.issued_count, decided=over)]
    )
    log.warning("the gate of coupon %s had missed decisions, %d of them now freed", coupon_id, len(over))
