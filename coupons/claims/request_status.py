"""What became of a request: the database first, Redis for what is under way, the log if Redis is empty."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID

from coupons.claims import lookup_threads, undecided
from coupons.eventlog import positions
from coupons.gate import disclosed, pending
from coupons.gate.admission import GateUnavailable, gate
from coupons.gate.pending import Tracked
from coupons.models import IssueOutcome
from coupons.outcomes import RequestStatus

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """The status route's answer; times in epoch milliseconds. Null where not known."""

    request_id: UUID
    coupon_id: int | None
    user_id: int | None
    status: RequestStatus
    reason: str | None = None
    user_coupon_id: int | None = None
    rank: int | None = None
    requested_at_ms: int | None = None
    processed_at_ms: int | None = None
    partition: int | None = None
    offset: int | None = None
    position: int | None = None  #: while PENDING: events ahead of it in its partition
    eta_s: float | None = None


def status_of(request_id: UUID) -> StatusReport | None:
    """The request's status, or None if nothing is known of it. Raises what is away.

    backlog.LogUnavailable when only the log could tell and it cannot be read. In the loop, only short
    questions hold a thread: who has to wait for the log is in nobody's way.
    """
    known = lookup_threads.in_thread(_known, request_id)
    if known is not None:
        return known
    waiting = _from_log(request_id)
    if waiting is not None:
        return waiting
    return lookup_threads.in_thread(_outcome, request_id)  # decided while we looked elsewhere


def _known(request_id: UUID) -> StatusReport | None:
    return _outcome(request_id) or _from_redis(request_id) or _from_disclosed(request_id)


def _outcome(request_id: UUID) -> StatusReport | None:
    outcome = IssueOutcome.objects.filter(pk=request_id).first()
    if outcome is None:
        return None
    return StatusReport(
        request_id=request_id,
        coupon_id=outcome.coupon_id,
        user_id=outcome.user_id,
        status=RequestStatus(outcome.status),
        reason=outcome.reason,
        user_coupon_id=outcome.user_coupon_id,
        rank=outcome.claim_rank,
        requested_at_ms=int(outcome.requested_at.timestamp() * 1000),
        processed_at_ms=int(outcome.processed_at.timestamp() * 1000),
        partition=outcome.kafka_partition,
        offset=outcome.kafka_offset,
    )


def _from_redis(request_id: UUID) -> StatusReport | None:
    try:
        # Through the gate: a Redis that hangs is left alone for a second by all who ask.
        tracked = gate.guarded(lambda: pending.find(request_id))
        if tracked is None:
            return None
        partition = tracked.partition
        events_per_s = None if partition is None else gate.guarded(lambda: pending.rate(partition))
    except GateUnavailable as error:
        log.warning("Redis does not answer, the log is asked: %s", error)
        return None
    row = None if partition is None else positions.stored().get(partition)
    if row is None or tracked.offset is None:
        return _pending(tracked, position=None, eta_s=None)
    position = max(0, tracked.offset - row.undecided_from)
    return _pending(tracked, position=position, eta_s=position / events_per_s if events_per_s else None)


def _from_disclosed(request_id: UUID) -> StatusReport | None:
    tracked = disclosed.find(request_id)
    return None if tracked is None else _pending(tracked, position=None, eta_s=None)


def _from_log(request_id: UUID) -> StatusReport | None:
    entry = undecided.index.find(request_id)
    if entry is None:
        return None
    tracked, position = entry
    return _pending(tracked, position=position, eta_s=None)


def _pending(tracked: Tracked, *, position: int | None, eta_s: float | None) -> StatusReport:
    return StatusReport(
        request_id=tracked.claim.request_id,
        coupon_id=tracked.claim.coupon_id,
        user_id=tracked.claim.user_id,
        status=RequestStatus.PENDING,
        requested_at_ms=tracked.requested_at_ms,
        partition=tracked.partition,
        offset=tracked.offset,
        position=position,
        eta_s=eta_s,
    )
