"""One batch: decode, issue, move events that can never succeed to the dead letters, notify the gate."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Message
from django.conf import settings
from django.db import DatabaseError
from redis.exceptions import RedisError

from consumer import dead_letters
from consumer.dead_letters import DeadMessage, TooManyDeadLetters
from consumer.kafka import headers_of, place
from consumer.partitions import AssignedPartitions, PlaceInTopic
from coupons.claim import Claim
from coupons.eventlog.events import SECOND_CHANCE_HEADER, IssueRequest, UndecodableEvent, decode
from coupons.eventlog.positions import Advance
from coupons.eventlog.producer import EventProducer
from coupons.gate import pending
from coupons.gate.admission import (
    Decisions,
    GateUnavailable,
    gate,
)
from coupons.issuing.allocation import Allocation
from coupons.issuing.deciding import CouponsNotFound, Issued, issue_coupons
from coupons.operations import surroundings
from coupons.outcomes import DeadLetterReason, Decision
from runtime import logs, metrics
from runtime.database_errors import Kind, kind_of

log = logging.getLogger(__name__)

#: Events that cannot be stored are rare. So many of them, with no coupon issued in between, mean that the
#: database is broken, and the consumer halts. Fewer, and a producer's bug halts it; more, and a broken
#: database makes more dead letters of good events.
MOST_UNSTORABLE: Final = 100
#: Errors that an event may cause by itself: a value that the database, or a column's type, cannot take.
_OF_ONE_EVENT: Final = (DatabaseError, OverflowError, ValueError)


class BatchProcessor:
    """Turns messages into decisions, which are committed when ``process`` returns.

    Runs in the consumer's main thread, between polls, and waits for database, broker and Redis there.
    """

    def __init__(self, *, producer: EventProducer) -> None:
        self._producer = producer
        self._dead: dict[PlaceInTopic, DeadMessage] = {}  # found while deciding; decided with the next try
        self._published: set[PlaceInTopic] = set()  # dead letters that are published, and not committed yet
        self._failed_alone: set[PlaceInTopic] = set()
        self._dead_in_a_row = 0
        self._unstorable = 0  # since the last coupon that was issued

    def process(self, messages: Sequence[Message], assigned: AssignedPartitions) -> None:
        """Decide these messages, given in log order per partition. The same messages again change nothing.

        An event that cannot be stored harms no other: the batch is decided in halves until that event stands
        alone and becomes a dead letter. Raises PositionMoved; raises DeadLettersNotAcknowledged,
        TooManyDeadLetters and database errors, after which the loop gives the same messages again.
        """
        started = time.monotonic()
        try:
            issued, letters, advances = self._commit(messages, assigned)
        except _OF_ONE_EVENT as error:
            if not messages or (isinstance(error, DatabaseError) and kind_of(error) is not Kind.OF_THE_EVENT):
                raise
            self._isolate(messages, error, assigned)
            return
        except TooManyDeadLetters as error:  # the events in front of the last one are decided
            if len(messages) == 1:
                self._try_as_it_is_next_time(assigned.place_of(messages[0]))
                raise
            self._isolate(messages, error, assigned)
            return
        elapsed_s = max(time.monotonic() - started, 0.001)
        _report(issued, letters)
        pace = len(messages) / elapsed_s
        notify_gate(issued, letters, {each.partition: pace for each in advances})
        metrics.BATCH_SIZE.observe(len(messages))
        metrics.BATCH_SECONDS.observe(elapsed_s)

    def _isolate(self, messages: Sequence[Message], error: Exception, assigned: AssignedPartitions) -> None:
        """Decide in halves. An event that fails alone, twice, is a dead letter; if that fails too, raise."""
        if len(messages) > 1:
            half = len(messages) // 2
            self.process(messages[:half], assigned)
            self.process(messages[half:], assigned)
            return
        at = assigned.place_of(messages[0])
        if at in self._dead or _cannot_work():
            self._try_as_it_is_next_time(at)
            raise error
        if at in self._failed_alone:  # the first failure may be another writer's, of the same rows
            # A database error says all; any other error is a bug of ours, and its trace is wanted.
            trace = None if isinstance(error, DatabaseError) else error
            log.error("the event at %s/%s cannot be stored: %s", *at.place, error, exc_info=trace)
            self._dead[at] = _unstorable(messages[0], error)
        self._failed_alone.add(at)
        self.process(messages, assigned)

    def _try_as_it_is_next_time(self, at: PlaceInTopic) -> None:
        """Forget that this event failed: nothing can be stored now, so the event may be a good one."""
        self._dead.pop(at, None)
        self._failed_alone.discard(at)

    def _commit(
        self, messages: Sequence[Message], assigned: AssignedPartitions
    ) -> tuple[Issued, list[DeadMessage], list[Advance]]:
        advances = assigned.advances(messages)
        while True:
            requests, letters = self._decode(messages, assigned)
            in_a_row = self._refuse_too_many(messages, letters)
            self._publish(letters, assigned)
            try:
                issued = issue_coupons(
                    requests, failed=[letter.as_failed() for letter in letters], advances=advances
                )
                break
            except CouponsNotFound as error:
                self._dead |= _of_unknown_coupons(error, messages, assigned)
        self._forget(messages, assigned)
        assigned.advanced(advances)
        self._dead_in_a_row = in_a_row
        self._unstorable += _unstorable_among(letters)
        if issued.user_coupon_ids:
            self._unstorable = 0
        return issued, letters, advances

    def _publish(self, letters: Sequence[DeadMessage], assigned: AssignedPartitions) -> None:
        """Publish each letter once, however often the database has to be tried."""
        new = [each for each in letters if assigned.place_of(each.message) not in self._published]
        if new:
            dead_letters.publish(new, producer=self._producer)
            self._published |= {assigned.place_of(each.message) for each in new}

    def _forget(self, messages: Sequence[Message], assigned: AssignedPartitions) -> None:
        if self._dead or self._published or self._failed_alone:
            decided = set(map(assigned.place_of, messages))
            self._published -= decided
            self._failed_alone -= decided
            self._dead = {each: letter for each, letter in self._dead.items() if each not in decided}

    def _refuse_too_many(self, messages: Sequence[Message], letters: Sequence[DeadMessage]) -> int:
        """How many dead letters in a row end the batch. Raises TooManyDeadLetters before any is published.

        A letter whose coupon does not exist does not count: somebody deleted the coupon, which says nothing
        about other events. UNSTORABLE letters have a count of their own, since the last coupon that was
        issued.
        """
        if self._unstorable + _unstorable_among(letters) > MOST_UNSTORABLE:
            raise TooManyDeadLetters(
                f"more than {MOST_UNSTORABLE} events could not be stored since the last coupon that was "
                f"issued, the last: {letters[-1].error}. Halted until the database is mended; then "
                "`manage.py dead_letters replay --reason UNSTORABLE` sends those before again"
            )
        limit = settings.CONFIG.consumer.dead_letters_in_a_row
        dead = {place(letter.message): letter for letter in letters}
        in_a_row = self._dead_in_a_row
        for message in messages if letters else ():
            letter = dead.get(place(message))
            if letter is not None and letter.reason is DeadLetterReason.COUPON_NOT_FOUND:
                continue
            in_a_row = in_a_row + 1 if letter else 0
            if letter and in_a_row > limit:
                raise TooManyDeadLetters(
                    f"{in_a_row} events in a row can never be issued, the last: {letter.error}. Halted: mend "
                    "the producer or this consumer, or raise COUPON_DEAD_LETTERS_IN_A_ROW, and restart"
                )
        return in_a_row if letters or not messages else 0

    def _decode(
        self, messages: Sequence[Message], assigned: AssignedPartitions
    ) -> tuple[list[IssueRequest], list[DeadMessage]]:
        requests: list[IssueRequest] = []
        letters: list[DeadMessage] = []
        for message in messages:
            decoded = self._dead.get(assigned.place_of(message)) or _decoded(message)
            if isinstance(decoded, DeadMessage):
                letters.append(decoded)
            else:
                requests.append(decoded)
        logs.info_each(
            log,
            "쿠폰 발급 이벤트 처리 시작 - EventId: %s, UserId: %s, CouponId: %s",
            [(r.event.request_id, r.event.user_id, r.event.coupon_id) for r in requests],
        )
        return requests, letters


def _cannot_work() -> bool:
    """Whether the schema is wrong, as after somebody changed it: then every event fails, not this one."""
    why = surroundings.in_one_line(surroundings.problems())
    if why:
        log.error("nothing can be stored: %s", why)
    return bool(why)


def _decoded(message: Message) -> IssueRequest | DeadMessage:
    value = message.value()
    try:
        event = decode(value.encode() if isinstance(value, str) else value)
    except UndecodableEvent as error:
        return DeadMessage(
            message=message,
            reason=error.reason,
            error=error.detail,
            request_id=error.request_id,
            user_id=error.user_id,
            coupon_id=error.coupon_id,
        )
    return IssueRequest(
        event=event,
        place=place(message),
        is_second_chance=SECOND_CHANCE_HEADER in headers_of(message),
    )


def _letter_of(message: Message, request: IssueRequest, reason: DeadLetterReason, error: str) -> DeadMessage:
    event = request.event
    return DeadMessage(
        message=message,
        reason=reason,
        error=error,
        request_id=event.request_id,
        user_id=event.user_id,
        coupon_id=event.coupon_id,
        requested_at_ms=event.timestamp_ms,
    )


def _unstorable(message: Message, error: Exception) -> DeadMessage:
    error_text = f"{type(error).__name__}: {error}"
    decoded = _decoded(message)
    if isinstance(decoded, DeadMessage):
        return decoded
    return _letter_of(message, decoded, DeadLetterReason.UNSTORABLE, error_text)


def _unstorable_among(letters: Sequence[DeadMessage]) -> int:
    return sum(letter.reason is DeadLetterReason.UNSTORABLE for letter in letters)


def _of_unknown_coupons(
    error: CouponsNotFound, messages: Sequence[Message], assigned: AssignedPartitions
) -> dict[PlaceInTopic, DeadMessage]:
    unknown = {request.place: request for request in error.requests}
    return {
        assigned.place_of(message): _letter_of(
            message,
            unknown[at],
            DeadLetterReason.COUPON_NOT_FOUND,
            f"there is no coupon {unknown[at].event.coupon_id}",
        )
        for message in messages
        if (at := place(message)) in unknown
    }


def _report(issued: Issued, letters: Sequence[DeadMessage]) -> None:
    for decision, count in Counter(a.decision for a in issued.allocations).items():
        metrics.EVENTS_DECIDED.labels(decision=decision.value).inc(count)
    won = issued.user_coupon_ids
    logs.info_each(log, "쿠폰 발급 성공 - EventId: %s, UserCouponId: %s", list(won.items()))
    rejected = [
        (a.request.event.request_id, a.decision) for a in issued.allocations if a.decision.is_rejection
    ]
    logs.info_each(log, "쿠폰 발급 거절 - EventId: %s, Reason: %s", rejected)
    dead_letters.report(letters)


def notify_gate(issued: Issued, letters: Sequence[DeadMessage], rates: Mapping[int, float]) -> None:
    """After the commit: free reservations, remember winners, note the pace. If Redis is away, only log it.

    A seam: dev/faults stops a consumer here, which has committed and told nobody.
    """
    decided: defaultdict[int, list[tuple[Claim, bool]]] = defaultdict(list)
    for allocation in issued.allocations:
        decided[allocation.request.event.coupon_id].append(_settled(allocation))
    failed = [claim for letter in letters if (claim := letter.claim) is not None]
    request_ids = [claim.request_id for group in decided.values() for claim, _ in group]
    try:
        gate.notify(
            [
                Decisions(
                    coupon_id=coupon_id,
                    epoch=snapshot.epoch,
                    issued_count=snapshot.issued_count,
                    decided=decided[coupon_id],
                )
                for coupon_id, snapshot in issued.coupons.items()
            ]
        )
        gate.release(failed)
        pending.forget([*request_ids, *(claim.request_id for claim in failed)], rates)
    except (GateUnavailable, RedisError) as error:
        # If Redis comes back empty, the gate is loaded anew from the database and the log. If Redis kept its
        # data, housekeeping frees these reservations (coupons/gate/catching_up.py).
        log.warning("Redis was not notified of %d decisions: %s", len(request_ids), error)


def _settled(allocation: Allocation) -> tuple[Claim, bool]:
    """The claim, and whether it is a new winner. A replay of a winner is not: only its slot is freed."""
    return allocation.request.event.claim, allocation.decision is Decision.ISSUED
