"""Find reservations whose event was never published, and give their slots back.

A process may die, or lose its broker, between reserving and publishing. One round:

1. Note the reservations there are.
2. Wait until no publish begun before the note can still be on its way: twice the longest publish
   timeout that any API may have. This process's own setting says nothing about theirs.
3. Note the end of each partition.
4. When the group has decided everything up to there, a noted reservation that still stands and
   has no outcome has no event: it is decided REJECTED / BROKER_UNAVAILABLE, then released.

The outcome is written before the slot is given back, and under the coupon's row lock. So an event
that comes later all the same (a process frozen between reserving and publishing) finds its request
decided and changes nothing. No clock is compared between machines. See docs/decisions/admission.md.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from django.db import transaction
from django.utils import timezone

from coupons import backlog
from coupons.admission import Claim, gate
from coupons.models import Coupon, IssueOutcome
from coupons.outcomes import Code, RequestStatus
from couponsite import metrics
from couponsite.config import LONGEST_PUBLISH_MS

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 10_000
_LOG_TIMEOUT_S: Final = 5.0
#: An API begins to publish within its timeout of reserving, and gives up within it again.
_PUBLISHABLE_S: Final = 2 * LONGEST_PUBLISH_MS / 1000


class Round:
    """One round of looking. ``advance`` takes the next step if its time has come."""

    def __init__(self) -> None:
        self._suspects = gate.reservations(limit=_MOST_AT_ONCE)
        self._publishable_until = time.monotonic() + _PUBLISHABLE_S
        self._ends: dict[int, int] | None = None

    def advance(self) -> list[Claim] | None:
        """None while the round is not over; then the claims that were given back, perhaps none.

        Raises GateUnavailable, LogUnavailable or a database error; begin a new round then.
        """
        if not self._suspects:
            return []
        if time.monotonic() < self._publishable_until:
            return None
        if self._ends is None:
            positions = backlog.positions(timeout_s=_LOG_TIMEOUT_S)
            self._ends = {partition: at.end for partition, at in positions.items()}
        decided = backlog.positions(timeout_s=_LOG_TIMEOUT_S)
        if any(decided[partition].next_to_decide < end for partition, end in self._ends.items()):
            return None
        # Read on to the true end as well: not every broker tells it exactly.
        under_way = {r.event.event_id for r in backlog.read(timeout_s=_LOG_TIMEOUT_S).requests}
        standing = set(gate.reservations(limit=10 * _MOST_AT_ONCE))
        return give_back(
            [claim for claim in self._suspects if claim in standing and claim.request_id not in under_way]
        )


def give_back(claims: Sequence[Claim]) -> list[Claim]:
    """Decide these claims as never published, unless they were decided, and release their slots.

    Returns the claims that were decided here.
    """
    by_coupon: defaultdict[int, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_coupon[claim.coupon_id].append(claim)
    given_back: list[Claim] = []
    for coupon_id, group in sorted(by_coupon.items()):
        given_back += _reject(coupon_id, group)
        gate.release(group)
    metrics.SLOTS_RECLAIMED.inc(len(given_back))
    for claim in given_back:
        log.warning(
            "slot given back, its event was never published - EventId: %s, UserId: %s, CouponId: %s",
            claim.request_id,
            claim.user_id,
            claim.coupon_id,
        )
    return given_back


def _reject(coupon_id: int, claims: Sequence[Claim]) -> list[Claim]:
    now = timezone.now()
    with transaction.atomic(durable=True):
        # The lock the consumer decides under: what it decides meanwhile is seen here, and the reverse.
        coupon = Coupon.objects.select_for_update().filter(pk=coupon_id).first()
        decided = set(
            IssueOutcome.objects.filter(pk__in=[claim.request_id for claim in claims]).values_list(
                "pk", flat=True
            )
        )
        undecided = [claim for claim in claims if claim.request_id not in decided]
        IssueOutcome.objects.bulk_create(
            IssueOutcome(
                request_id=claim.request_id,
                coupon_id=coupon_id,
                user_id=claim.user_id,
                status=RequestStatus.REJECTED,
                reason=Code.BROKER_UNAVAILABLE.value,
                coupon_epoch=int(coupon.epoch) if coupon else None,
                requested_at=now,
                processed_at=now,
            )
            for claim in undecided
        )
    return undecided
