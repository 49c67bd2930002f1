"""Delete the figures of events that ended long ago, in small transactions: the report goes with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from django.db import transaction

from coupons.models import Coupon, SecondFigures
from coupons.operations.purging import StillOpen, is_over
from runtime.operator_language import say

#: Rows of one transaction, as of outcomes: short, so that nobody waits for the coupon's row, nor a replica.
AT_ONCE: Final = 1_000


def purge(coupon_id: int, *, older_than: datetime, on_progress: Callable[[int], object]) -> int:
    """Delete the coupon's figures of before that; returns how many rows. Raises StillOpen.

    ``on_progress`` gets how many were just deleted. May be interrupted and run again.
    """
    done = 0
    while deleted := _delete(coupon_id, older_than):
        done += deleted
        on_progress(deleted)
    return done


@transaction.atomic(durable=True)
def _delete(coupon_id: int, older_than: datetime) -> int:
    """Delete the oldest under the coupon's lock, so that nobody opens it meanwhile."""
    coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
    if not is_over(coupon, older_than):
        raise StillOpen(
            say("coupon {coupon_id} was opened or decided something meanwhile", coupon_id=coupon_id)
        )
    rows = SecondFigures.objects.filter(coupon_id=coupon_id, second__lt=int(older_than.timestamp()))
    oldest = list(rows.order_by("second", "process").values_list("pk", flat=True)[:AT_ONCE])
    deleted, _ = SecondFigures.objects.filter(pk__in=oldest).delete()
    return deleted
