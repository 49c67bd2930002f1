"""What became of a request: outcomes and disclosed ids are in the database, the rest in Redis or the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from coupons.claims import lookup_threads, submitting, undecided
from coupons.eventlog import deferred, positions
from coupons.eventlog.backlog import LogUnavailable
from coupons.eventlog.events import CouponIssueEvent
from coupons.eventlog.place import Place
from coupons.gate import disclosed, pending
from coupons.gate.admission import GateUnavailable, gate
from coupons.models import IssueOutcome
from coupons.outcomes import RequestStatus

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """The status route's answer; times in Unix milliseconds. Null where not known."""

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


def _anybodys(user_id: int | None) -> bool:
    return True


def status_of(request_id: UUID, *, may_see: Callable[[int | None], bool] = _anybodys) -> StatusReport | None:
    """The request's status, or None if nothing is known of it. Raises a database error.

    A request whose user ``may_see`` does not want is looked for everywhere, as one that is not there: the
    time that the answer takes tells nothing. ``may_see`` runs in pool threads too.

    Raises LogUnavailable when only the log could answer and it cannot be read. Runs in the loop:
    short questions hold a pool thread; a request that waits for the log holds none, and is in nobody's way.
    """

    def seen(report: StatusReport | None) -> StatusReport | None:
        return report if report is not None and may_see(report.user_id) else None

    def known() -> tuple[StatusReport | None, StatusReport | None]:
        """What is known, or else what is known but for its place."""
        if found := (
            seen(_outcome(request_id)) or _from_redis(request_id, may_see) or seen(_from_deferred(request_id))
        ):
            return found, None
        return None, seen(_from_disclosed(request_id))

    report, placeless = lookup_threads.in_thread(known)
    if report or (placeless and submitting.is_any_dead()):  # a dead broker would have it wait for nothing
        return report or placeless
    try:
        report = _from_log(request_id, may_see)
    except LogUnavailable:
        if placeless is None:
            raise
    if report:
        return report
    # Decided, or deferred, while we looked elsewhere?
    again = lookup_threads.in_thread(lambda: seen(_outcome(request_id)) or seen(_from_deferred(request_id)))
    return again or placeless


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


def _from_redis(request_id: UUID, may_see: Callable[[int | None], bool]) -> StatusReport | None:
    try:
        # Through the gate: after a failure all callers leave Redis alone for a second.
        noted = gate.guarded(lambda: pending.find(request_id))
        if noted is None or not may_see(noted[0].user_id):
            return None
        event, place = noted
        events_per_s = None if place is None else gate.guarded(lambda: pending.rate(place.partition))
    except GateUnavailable as error:
        log.warning("Redis does not answer, the log is asked: %s", error)
        return None
    row = None if place is None else positions.stored().get(place.partition)
    if row is None or place is None:
        return _pending(event, place)
    if place.offset < row.undecided_from and deferred.among([request_id]):
        return _pending(event, place)  # how long an operator's pause lasts, nobody knows
    position = max(0, place.offset - row.undecided_from)
    return _pending(event, place, position=position, eta_s=position / events_per_s if events_per_s else None)


def _from_deferred(request_id: UUID) -> StatusReport | None:
    request = deferred.find(request_id)
    return None if request is None else _pending(request.event, request.place)


def _from_disclosed(request_id: UUID) -> StatusReport | None:
    event = disclosed.find(request_id)
    return None if event is None else _pending(event, None)


def _from_log(request_id: UUID, may_see: Callable[[int | None], bool]) -> StatusReport | None:
    found = undecided.index.find(request_id, may_see=may_see)
    if found is None:
        return None
    request, position = found
    return _pending(request.event, request.place, position=position)


def _pending(
    event: CouponIssueEvent,
    place: Place | None,
    *,
    position: int | None = None,
    eta_s: float | None = None,
) -> StatusReport:
    return StatusReport(
        request_id=event.request_id,
        coupon_id=event.coupon_id,
        user_id=event.user_id,
        status=RequestStatus.PENDING,
        requested_at_ms=event.timestamp_ms,
        partition=place.partition if place else None,
        offset=place.offset if place else None,
        position=position,
        eta_s=eta_s,
    )
