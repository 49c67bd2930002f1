"""What became of a request: the database first, Redis for what is under way, the log if Redis is empty."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from coupons import backlog, disclosed, tracking
from coupons.admission import Claim, GateUnavailable, gate
from coupons.backlog import LogUnavailable
from coupons.models import IssueOutcome
from coupons.outcomes import RequestStatus
from coupons.producer import event_producer
from coupons.tracking import Tracked

log = logging.getLogger(__name__)

_LOG_TIMEOUT_S: Final = 3.0
_LOG_KEPT_S: Final = 1.0
_BETWEEN_READINGS_S: Final = 0.25


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
    """The request's status, or None if nothing is known of it.

    Raises backlog.LogUnavailable when only the log could tell and it cannot be read.
    """
    outcome = _outcome(request_id)
    if outcome is not None:
        return outcome
    pending = _from_redis(request_id) or _from_disclosed(request_id) or _from_log(request_id)
    if pending is not None:
        return pending
    return _outcome(request_id)  # decided while we looked elsewhere


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
        tracked = gate.guarded(lambda: tracking.find(request_id))
        if tracked is None:
            return None
        partition = tracked.partition
        progress = None if partition is None else gate.guarded(lambda: tracking.progress(partition))
    except GateUnavailable as error:
        log.warning("Redis does not answer, the log is asked: %s", error)
        return None
    if progress is None or tracked.offset is None:
        return _pending(tracked, position=None, eta_s=None)
    position = max(0, tracked.offset - progress.next_offset)
    eta_s = position / progress.events_per_s if progress.events_per_s else None
    return _pending(tracked, position=position, eta_s=eta_s)


def _from_disclosed(request_id: UUID) -> StatusReport | None:
    tracked = disclosed.find(request_id)
    return None if tracked is None else _pending(tracked, position=None, eta_s=None)


def _from_log(request_id: UUID) -> StatusReport | None:
    entry = _undecided_log.find(request_id)
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


class _UndecidedLog:
    """The backlog by request id, read a few times a second at most however many ask.

    What a reading found may be told for a second. What it did not find is believed only if it began
    after the question: a request may have been accepted in between.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began_at = float("-inf")
        self._entries: dict[UUID, tuple[Tracked, int]] = {}

    def find(self, request_id: UUID) -> tuple[Tracked, int] | None:
        """The request and how many events are ahead of it. Raises LogUnavailable."""
        asked_at = time.monotonic()
        if event_producer().is_down or not self._lock.acquire(timeout=_LOG_TIMEOUT_S):
            raise LogUnavailable("the broker does not answer")
        try:
            is_known = request_id in self._entries and asked_at - self._began_at < _LOG_KEPT_S
            if not is_known and self._began_at < asked_at:
                time.sleep(max(0.0, self._began_at + _BETWEEN_READINGS_S - time.monotonic()))
                began_at = time.monotonic()
                self._entries = self._read()
                self._began_at = began_at
            return self._entries.get(request_id)
        finally:
            self._lock.release()

    def _read(self) -> dict[UUID, tuple[Tracked, int]]:
        log_end = backlog.read(timeout_s=_LOG_TIMEOUT_S)
        entries: dict[UUID, tuple[Tracked, int]] = {}
        for request in log_end.requests:
            event = request.event
            tracked = Tracked(
                claim=Claim(coupon_id=event.coupon_id, user_id=event.user_id, request_id=event.event_id),
                requested_at_ms=event.timestamp_ms,
                partition=request.partition,
                offset=request.offset,
            )
            entries.setdefault(
                event.event_id, (tracked, request.offset - log_end.committed[request.partition])
            )
        return entries


_undecided_log = _UndecidedLog()
