"""Find reservations whose event never came to the log, and give their slots back.

A process may die, or lose its broker, between reserving and publishing. One round:

1. Note the reservations there are, and the requests that clients were told of and that may be nowhere else.
2. Wait until no publish begun before the note can still be on its way: twice the longest publish
   timeout that any API may have. This process's own setting says nothing about theirs.
3. Note the end of each partition.
4. When everything up to there is decided, take the noted reservations that still stand without an outcome.
5. Look for their events in the log, decided or not, from before they were reserved. One that is found was
   passed over: the position goes back to it, and it is decided.
6. What is in no log is decided REJECTED / BROKER_UNAVAILABLE. Where the broker had acknowledged it, or the
   log does not reach back so far, it may have been deleted: FAILED / EVENT_LOST, and said loudly.

The outcome is written before the slot is given back, and under the coupon's row lock. So an event
that comes later all the same (a process frozen between reserving and publishing) finds its request
decided and changes nothing. No clock is compared between machines. See docs/decisions/admission.md.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from coupons.claim import Claim
from coupons.eventlog import backlog, log_search, positions
from coupons.eventlog.place import EndOffset, NextOffset
from coupons.gate import disclosed, pending
from coupons.gate.admission import (
    GateUnavailable,
    gate,
)
from coupons.models import Coupon, IssueOutcome
from coupons.outcomes import Code, DeadLetterReason, RequestStatus
from runtime import metrics
from runtime.config import LONGEST_PUBLISH_MS

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 10_000
_LOG_TIMEOUT_S: Final = 5.0
#: An API begins to publish within its timeout of reserving, and gives up within it again.
_PUBLISHABLE_S: Final = 2 * LONGEST_PUBLISH_MS / 1000
#: A request's id and its event's time are of one clock, the API's, which may be set right in between.
_CLOCK_JUMPS_MS: Final = 3_600_000


class Round:
    """One round of looking. ``advance`` takes the next step if its time has come."""

    def __init__(self) -> None:
        self._reserved = _reserved(limit=_MOST_AT_ONCE)
        self._disclosed = disclosed.suspects(_MOST_AT_ONCE)
        self._publishable_until = time.monotonic() + _PUBLISHABLE_S
        self._ends: dict[int, EndOffset] | None = None

    def advance(self) -> list[Claim] | None:
        """None while the round is not over; then the claims that were given back, perhaps none.

        Raises LogUnavailable or a database error; begin a new round then.
        """
        if not self._reserved and not self._disclosed:
            return []
        if time.monotonic() < self._publishable_until:
            return None
        if self._ends is None:
            at = backlog.positions(timeout_s=_LOG_TIMEOUT_S)
            self._ends = {partition: each.end for partition, each in at.items()}
        if not backlog.is_decided_to(self._ends, timeout_s=_LOG_TIMEOUT_S):
            return None
        # Read on to the true end as well: not every broker tells it exactly.
        under_way = {r.event.request_id for r in backlog.read(timeout_s=_LOG_TIMEOUT_S).requests}
        standing = set(_reserved(limit=10 * _MOST_AT_ONCE))
        suspects = {each for each in self._reserved if each in standing} | set(self._disclosed)
        gone = _without_event([each for each in suspects if each.request_id not in under_way])
        whole_from_ms = log_search.begins_at_ms(timeout_s=_LOG_TIMEOUT_S) if gone else 0
        return give_back(gone, whole_from_ms=whole_from_ms)


def _reserved(*, limit: int) -> list[Claim]:
    """None where Redis does not answer: what clients were told of has its end all the same."""
    try:
        return gate.reservations(limit=limit)
    except GateUnavailable:
        return []


def _without_event(claims: Sequence[Claim]) -> list[Claim]:
    """Those whose event is nowhere in the log. Events that were passed over are decided from now on."""
    undecided = set(claims) - set(_decided(claims))
    request_ids = {claim.request_id for claim in undecided}
    if not request_ids:
        return list(claims)
    found = log_search.find(request_ids, since_ms=_since_ms(request_ids), patience_s=_LOG_TIMEOUT_S)
    if found:
        back: dict[int, NextOffset] = {}
        for partition, offset in found.values():
            back[partition] = NextOffset(min(offset, back.get(partition, offset)))
        log.error("%d events were passed over, deciding goes back to them: %s", len(found), back)
        positions.move_back(back)
    return [claim for claim in claims if claim.request_id not in found]


def _decided(claims: Sequence[Claim]) -> list[Claim]:
    over = IssueOutcome.objects.filter(pk__in=[claim.request_id for claim in claims])
    decided = set(over.values_list("pk", flat=True))
    return [claim for claim in claims if claim.request_id in decided]


def _since_ms(request_ids: Collection[UUID]) -> int:
    """Before the first of them was reserved; from the log's beginning if an id does not tell its time."""
    if any(request_id.version != 7 for request_id in request_ids):
        return 0
    return max(0, min(request_id.int >> 80 for request_id in request_ids) - _CLOCK_JUMPS_MS)


def give_back(claims: Sequence[Claim], *, whole_from_ms: int = 0) -> list[Claim]:
    """Decide these claims as never published, unless they were decided, and release their slots.

    ``whole_from_ms``: what was written to the log before may be deleted (epoch milliseconds). Returns the
    claims that were decided here.
    """
    by_coupon: defaultdict[int, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_coupon[claim.coupon_id].append(claim)
    given_back: list[Claim] = []
    for coupon_id, group in sorted(by_coupon.items()):
        given_back += _decide(coupon_id, group, whole_from_ms=whole_from_ms)
        try:
            gate.release(group)
        except GateUnavailable as error:
            log.warning("decided, and their slots are freed when Redis is back: %s", error)
    metrics.SLOTS_RECLAIMED.inc(len(given_back))
    return given_back


def _decide(coupon_id: int, claims: Sequence[Claim], *, whole_from_ms: int) -> list[Claim]:
    now = timezone.now()
    with transaction.atomic(durable=True):
        # The lock the consumer decides under: what it decides meanwhile is seen here, and the reverse.
        coupon = Coupon.objects.select_for_update().filter(pk=coupon_id).first()
        decided = set(_decided(claims))
        undecided = [claim for claim in claims if claim not in decided]
        lost = _lost([claim.request_id for claim in undecided], whole_from_ms=whole_from_ms)
        IssueOutcome.objects.bulk_create(
            IssueOutcome(
                request_id=claim.request_id,
                coupon_id=coupon_id,
                user_id=claim.user_id,
                status=RequestStatus.FAILED if claim.request_id in lost else RequestStatus.REJECTED,
                reason=_reason(is_lost=claim.request_id in lost),
                coupon_epoch=int(coupon.epoch) if coupon else None,
                requested_at=now,
                processed_at=now,
            )
            for claim in undecided
        )
    for claim in undecided:
        _tell(claim, is_lost=claim.request_id in lost)
    return undecided


def _lost(request_ids: Sequence[UUID], *, whole_from_ms: int) -> set[UUID]:
    """Those that were in the log, or may have been before it was cut off."""
    cut_off = {each for each in request_ids if each.version == 7 and each.int >> 80 < whole_from_ms}
    try:
        return cut_off | gate.guarded(lambda: pending.acknowledged(request_ids))
    except GateUnavailable:
        return cut_off


def _reason(*, is_lost: bool) -> str:
    return DeadLetterReason.EVENT_LOST.value if is_lost else Code.BROKER_UNAVAILABLE.value


def _tell(claim: Claim, *, is_lost: bool) -> None:
    told = "EventId: %s, UserId: %s, CouponId: %s"
    named = claim.request_id, claim.user_id, claim.coupon_id
    if is_lost:
        log.error(f"LOST: accepted, and its event is not in the log any more - {told}", *named)
    else:
        log.warning(f"slot given back, its event was never published - {told}", *named)
