"""One batch: decode, issue, move what can never succeed to the dead letters, tell Redis."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from confluent_kafka import Message
from django.conf import settings
from redis.exceptions import RedisError

from consumer import dead_letters
from consumer.dead_letters import DeadLetter
from consumer.kafka import headers_of, next_offsets, place
from coupons import tracking
from coupons.admission import Claim, GateUnavailable, Settlement, gate
from coupons.allocation import Allocation, IssueRequest
from coupons.events import SECOND_CHANCE_HEADER, UndecodableEvent, decode
from coupons.issuing import Issued, issue_coupons
from coupons.outcomes import DeadLetterReason, Decision
from coupons.producer import EventProducer
from coupons.tracking import Progress
from couponsite import logs, metrics

log = logging.getLogger(__name__)


class BatchProcessor:
    """Turns messages into committed decisions. Returning from ``process`` means: durable."""

    def __init__(self, *, producer: EventProducer) -> None:
        self._producer = producer
        self._dead_in_a_row = 0

    def process(self, messages: Sequence[Message]) -> None:
        """Decide these messages, given in log order per partition. Feed it twice: the second changes nothing.

        Raises DatabaseError, DeadLettersNotAcknowledged and the like; then nothing may be committed
        to the log, and the same batch is given again.
        """
        started = time.monotonic()
        requests, letters = _decode(messages)
        issued = issue_coupons(requests) if requests else None
        if issued is not None:
            letters += _unknown_coupons(issued, messages)
        dead_in_a_row = _dead_in_a_row(messages, letters, before=self._dead_in_a_row)
        if letters:
            dead_letters.move(letters, producer=self._producer)
        self._dead_in_a_row = dead_in_a_row
        elapsed = time.monotonic() - started
        _report(issued)
        _tell_redis(issued, letters, messages, events_per_s=len(messages) / max(elapsed, 0.001))
        metrics.BATCH_SIZE.observe(len(messages))
        metrics.BATCH_SECONDS.observe(elapsed)


def _dead_in_a_row(messages: Sequence[Message], letters: Sequence[DeadLetter], *, before: int) -> int:
    """How many dead letters stand together at the end. Raises TooManyDeadLetters before any is moved."""
    if not letters:
        return 0
    limit = settings.CONFIG.consumer.dead_letters_in_a_row
    dead = {place(letter.message) for letter in letters}
    in_a_row = before
    for message in messages:
        in_a_row = in_a_row + 1 if place(message) in dead else 0
        if in_a_row > limit:
            raise dead_letters.TooManyDeadLetters(
                f"more than {limit} events in a row can never be issued, the last: {letters[-1].error}. "
                "Halted: mend the producer or this consumer, or raise COUPON_DEAD_LETTERS_IN_A_ROW, "
                "and restart"
            )
    return in_a_row


def _decode(messages: Sequence[Message]) -> tuple[list[IssueRequest], list[DeadLetter]]:
    requests: list[IssueRequest] = []
    letters: list[DeadLetter] = []
    for message in messages:
        partition, offset = place(message)
        value = message.value()
        try:
            event = decode(value.encode() if isinstance(value, str) else value)
        except UndecodableEvent as error:
            letters.append(
                DeadLetter(
                    message=message,
                    reason=error.reason,
                    error=error.detail,
                    event_id=error.event_id,
                    user_id=error.user_id,
                    coupon_id=error.coupon_id,
                )
            )
            continue
        requests.append(
            IssueRequest(
                event=event,
                partition=partition,
                offset=offset,
                is_second_chance=SECOND_CHANCE_HEADER in headers_of(message),
            )
        )
    logs.info_each(
        log,
        "쿠폰 발급 이벤트 처리 시작 - EventId: %s, UserId: %s, CouponId: %s",
        [(r.event.event_id, r.event.user_id, r.event.coupon_id) for r in requests],
    )
    return requests, letters


def _unknown_coupons(issued: Issued, messages: Sequence[Message]) -> list[DeadLetter]:
    unknown = {
        (a.request.partition, a.request.offset): a.request.event
        for a in issued.allocations
        if a.decision is Decision.COUPON_NOT_FOUND
    }
    if not unknown:
        return []
    return [
        DeadLetter(
            message=message,
            reason=DeadLetterReason.COUPON_NOT_FOUND,
            error=f"there is no coupon {event.coupon_id}",
            event_id=event.event_id,
            user_id=event.user_id,
            coupon_id=event.coupon_id,
            requested_at_ms=event.timestamp_ms,
        )
        for message in messages
        if (event := unknown.get(place(message))) is not None
    ]


def _report(issued: Issued | None) -> None:
    if issued is None:
        return
    for decision, count in Counter(a.decision for a in issued.allocations).items():
        metrics.EVENTS_DECIDED.labels(decision=decision.value).inc(count)
    won = issued.user_coupon_ids
    logs.info_each(log, "쿠폰 발급 성공 - EventId: %s, UserCouponId: %s", list(won.items()))
    rejected = [(a.request.event.event_id, a.decision) for a in issued.allocations if a.decision.is_rejection]
    logs.info_each(log, "쿠폰 발급 거절 - EventId: %s, Reason: %s", rejected)


def _tell_redis(
    issued: Issued | None, letters: Sequence[DeadLetter], messages: Sequence[Message], *, events_per_s: float
) -> None:
    """After the commit: free reservations, remember winners, note the progress. Redis may be away."""
    decided: defaultdict[int, list[tuple[Claim, bool]]] = defaultdict(list)
    for allocation in issued.allocations if issued else ():
        decided[allocation.request.event.coupon_id].append(_settled(allocation))
    failed = [
        Claim(coupon_id=letter.coupon_id, user_id=letter.user_id, request_id=letter.event_id)
        for letter in letters
        if letter.coupon_id and letter.user_id and letter.event_id
    ]
    request_ids = [claim.request_id for group in decided.values() for claim, _ in group]
    progress = {
        partition: Progress(next_offset=offset, events_per_s=events_per_s)
        for partition, offset in next_offsets(messages).items()
    }
    try:
        gate.settle(
            [
                Settlement(
                    coupon_id=coupon_id,
                    epoch=snapshot.epoch,
                    issued_count=snapshot.issued_count,
                    decided=decided[coupon_id],
                )
                for coupon_id, snapshot in (issued.coupons.items() if issued else ())
            ]
        )
        gate.release(failed)
        tracking.settle([*request_ids, *(claim.request_id for claim in failed)], progress)
    except (GateUnavailable, RedisError) as error:
        # The gate is loaded anew from the database and the log once Redis is back and empty; where
        # Redis kept its data, these reservations are found to be decided when they stand in the way.
        log.warning("Redis was not told of %d decisions: %s", len(request_ids), error)


def _settled(allocation: Allocation) -> tuple[Claim, bool]:
    """A replay of a winner counts as neither: its slot was settled, or is freed here."""
    event = allocation.request.event
    claim = Claim(coupon_id=event.coupon_id, user_id=event.user_id, request_id=event.event_id)
    return claim, allocation.decision is Decision.ISSUED
