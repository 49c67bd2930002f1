"""Disclosed requests: a client was given their id, and they may not be in the log. Kept until their outcome.

An answer that names a request promises that its status can be asked for. An acknowledged request is in the
log, a decided one has its outcome. Any other (a publish without an answer, an earlier reservation that a
second claim is answered with) is written here before the answer discloses its id, and so outlives Redis. So
is a claim that is accepted while Redis is away: it has no reservation, and if somebody deletes its event
before it is decided, this row alone knows that it was accepted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from coupons.claim import Claim
from coupons.eventlog.events import LAST_TIMESTAMP_MS, CouponIssueEvent
from coupons.models import DeferredEvent, DisclosedRequest, IssueOutcome
from runtime.chunks import in_chunks

AT_ONCE: Final = 1_000  #: rows of one statement: a bound on its size, and on the locks of a deletion
_WITH_TIME_IN_IT: Final = 7  #: a UUID of this version begins with the Unix milliseconds of its making


def keep(claims: Collection[Claim]) -> None:
    """Keep these requests, all or none; durable once it returns. Raises a database error.

    Several claims may be answered with the same request at the same moment: the second insert changes
    nothing. Runs in a pool thread, never in the loop.
    """
    rows = [
        DisclosedRequest(
            request_id=claim.request_id,
            coupon_id=claim.coupon_id,
            user_id=claim.user_id,
            requested_at=_requested_at(claim.request_id),
        )
        # In one order, so that processes that write the same rows do not wait for each other in a ring.
        for claim in sorted({claim.request_id: claim for claim in claims}.values(), key=_by_id)
    ]
    # An upsert that changes nothing. INSERT IGNORE would hide every other error as well.
    target = ["request_id"] if connection.features.supports_update_conflicts_with_target else None
    with transaction.atomic(durable=True):
        DisclosedRequest.objects.bulk_create(
            rows,
            batch_size=AT_ONCE,
            update_conflicts=True,
            update_fields=["coupon_id"],
            unique_fields=target,
        )


def find(request_id: UUID) -> CouponIssueEvent | None:
    """The request as its event, if it is kept here; it may be decided by now, and its event in no log."""
    row = DisclosedRequest.objects.filter(pk=request_id).first()
    if row is None:
        return None
    return CouponIssueEvent.of(_claim(row), timestamp_ms=int(row.requested_at.timestamp() * 1000))


def suspects(limit: int, *, after: UUID | None = None) -> list[Claim]:
    """Kept requests without an outcome, in the order of their ids, for the search for leaked slots.

    Those that follow ``after`` come first: the oldest may be of a partition that stands still for long.
    Without those that are deferred, which are in no danger: a paused coupon has any number of them, for as
    long as somebody wants it.
    """
    is_deferred = Exists(DeferredEvent.objects.filter(request_id=OuterRef("pk")))
    undecided = DisclosedRequest.objects.filter(~_has_outcome(), ~is_deferred).order_by("pk")
    rows = list((undecided if after is None else undecided.filter(pk__gt=after))[:limit])
    if after is not None and len(rows) < limit:
        rows += undecided.filter(pk__lte=after)[: limit - len(rows)]
    return [_claim(row) for row in rows]


def forget(request_ids: Iterable[UUID]) -> int:
    """Forget those of the requests that have an outcome. Returns how many."""
    chunks = in_chunks(request_ids, AT_ONCE)
    return sum(_delete(DisclosedRequest.objects.filter(pk__in=some)) for some in chunks)


def forget_decided(limit: int = 10 * AT_ONCE) -> int:
    """Forget requests that have an outcome, ``limit`` at most, in small statements. Returns how many."""
    forgotten = 0
    while forgotten < limit:
        some = _delete(DisclosedRequest.objects.order_by("pk"))
        forgotten += some
        if some < AT_ONCE:
            break
    return forgotten


def _delete(rows: QuerySet[DisclosedRequest]) -> int:
    """Delete a thousand of the rows that have an outcome. By key, so that no row that stays is locked."""
    keys = list(rows.filter(_has_outcome()).values_list("pk", flat=True)[:AT_ONCE])
    if not keys:
        return 0
    return DisclosedRequest.objects.filter(pk__in=keys).delete()[0]


def _has_outcome() -> Exists:
    return Exists(IssueOutcome.objects.filter(pk=OuterRef("pk")))


def _requested_at(request_id: UUID) -> datetime:
    """The time in the id, or now: another producer's id may hold no time, or nonsense."""
    made_at_ms = request_id.int >> 80
    if request_id.version != _WITH_TIME_IN_IT or made_at_ms > LAST_TIMESTAMP_MS:
        return timezone.now()
    return datetime.fromtimestamp(made_at_ms / 1000, tz=UTC)


def _claim(row: DisclosedRequest) -> Claim:
    return Claim(coupon_id=row.coupon_id, user_id=row.user_id, request_id=row.request_id)


def _by_id(claim: Claim) -> bytes:
    return claim.request_id.bytes
