"""One batch: read, issue, move events that can never succeed to the dead letters, tell Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from confluent_kafka import Message
from django.conf import settings
from django.db import DatabaseError

from consumer import database_thread, dead_letters
from consumer.database_thread import Running
from consumer.dead_letters import DeadMessage, TooManyDeadLetters
from consumer.kafka import place
from consumer.partitions import PlaceInTopic
from consumer.reading import UNREADABLE, Reader, as_letter, originals
from consumer.source import Source
from consumer.telling import Committed, Teller
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.positions import Advance
from coupons.eventlog.producer import EventProducer
from coupons.issuing.deciding import CouponsNotFound, Issued, issue_coupons
from coupons.operations import surroundings
from coupons.outcomes import DeadLetterReason
from runtime import logs, metrics
from runtime.database_errors import Kind, kind_of

log = logging.getLogger(__name__)

#: Events that cannot be stored are rare. So many of them, with no coupon issued in between, mean that the
#: database is broken, and the consumer halts. Fewer, and a producer's bug halts it; more, and a broken
#: database makes more dead letters of good events.
MOST_UNSTORABLE: Final = 100
#: Errors that an event may cause by itself: a value that the database, or a column's type, cannot take.
_OF_ONE_EVENT: Final = (DatabaseError, *UNREADABLE)
NextBatch = Callable[[], Sequence[Message]]


class MeanwhileFailed(RuntimeError):
    """The work beside a transaction failed: a bug of ours, and no error of that batch's events."""


class BatchProcessor:
    """Turns messages into decisions, which are committed when ``process`` returns.

    Runs in the consumer's main thread, between polls, and waits for database, broker and Redis there.
    """

    def __init__(self, *, producer: EventProducer, run: Running = database_thread.in_turn) -> None:
        self._producer = producer
        self._run = run
        self._reader = Reader()
        self._next: Sequence[Message] = ()  # the batch after the one in hand, as far as it is known
        self._teller = Teller()
        self._untold: Committed | None = None
        self._dead: dict[PlaceInTopic, DeadMessage] = {}  # found while deciding; decided with the next try
        self._published: set[PlaceInTopic] = set()  # dead letters that are published, and not committed yet
        self._failed_alone: set[PlaceInTopic] = set()
        self._dead_in_a_row = 0
        self._unstorable = 0  # since the last coupon that was issued

    def process(
        self,
        messages: Sequence[Message],
        assigned: Source,
        next_batch: NextBatch = tuple,
    ) -> None:
        """Decide these messages, given in log order per partition. The same messages again change nothing.

        ``next_batch`` is asked for what comes next, and that is read, while the database works. If there is
        something, Redis hears of this batch while the database works on the next one, or by ``tell()``.

        An event that cannot be stored harms no other: the batch is decided in halves until that event stands
        alone and becomes a dead letter. Raises PositionMoved, or DecidingPaused and DeferredMoved of deferred
        events. Raises DeadLettersNotAcknowledged, TooManyDeadLetters and database errors, after which the
        same messages are given again.
        """
        started = time.monotonic()
        try:
            issued, letters, advances = self._commit(messages, assigned, next_batch)
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
        pace = len(messages) / elapsed_s
        rates = {each.partition: pace for each in advances}
        self._untold = Committed(issued=issued, letters=letters, rates=rates)
        if not self._next:
            self.tell()
        metrics.BATCH_SIZE.observe(len(messages))
        metrics.BATCH_SECONDS.observe(elapsed_s)

    def _isolate(self, messages: Sequence[Message], error: Exception, assigned: Source) -> None:
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
        self, messages: Sequence[Message], assigned: Source, next_batch: NextBatch
    ) -> tuple[Issued, list[DeadMessage], list[Advance]]:
        advances = assigned.advances(messages)
        while True:
            requests, letters = self._read(messages, assigned)
            in_a_row = self._refuse_too_many(messages, letters)
            self._publish(letters, assigned)
            try:
                failed = [letter.as_failed() for letter in letters]
                issued = self._run(
                    partial(
                        issue_coupons,
                        requests,
                        failed=failed,
                        advances=advances,
                        originals=partial(originals, messages),
                        resumed=assigned.resumed,
                    ),
                    partial(self._meanwhile, requests, next_batch),
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

    def _publish(self, letters: Sequence[DeadMessage], assigned: Source) -> None:
        """Publish each letter once, however often the database has to be tried."""
        new = [each for each in letters if assigned.place_of(each.message) not in self._published]
        if new:
            dead_letters.publish(new, producer=self._producer)
            self._published |= {assigned.place_of(each.message) for each in new}

    def _forget(self, messages: Sequence[Message], assigned: Source) -> None:
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

    def _read(
        self, messages: Sequence[Message], assigned: Source
    ) -> tuple[list[IssueRequest], list[DeadMessage]]:
        found = self._reader.read(messages)
        if self._dead:
            dead = [self._dead.get(assigned.place_of(message)) for message in messages]
            found = [letter or each for letter, each in zip(dead, found, strict=True)]
        requests = [each for each in found if isinstance(each, IssueRequest)]
        letters = [each for each in found if isinstance(each, DeadMessage)]
        return requests, letters

    def _meanwhile(self, requests: Sequence[IssueRequest], next_batch: NextBatch) -> None:
        """The work of the loop's thread while the database works on these requests.

        Raises MeanwhileFailed for errors that would count as an event's.
        """
        try:
            self._work_on(requests, next_batch)
        except _OF_ONE_EVENT as error:
            raise MeanwhileFailed(str(error)) from error

    def _work_on(self, requests: Sequence[IssueRequest], next_batch: NextBatch) -> None:
        logs.info_each(
            log,
            "쿠폰 발급 이벤트 처리 시작 - EventId: %s, UserId: %s, CouponId: %s",
            [(r.event.request_id, r.event.user_id, r.event.coupon_id) for r in requests],
        )
        self.tell()
        self._next = next_batch()
        self._reader.read_ahead(self._next)

    def tell(self) -> None:
        """Tell Redis and the log of the last batch, if that waits for the next one, and Redis what it missed.

        Waits for Redis.
        """
        self._teller.notify_missed()
        if self._untold is not None:
            untold, self._untold = self._untold, None
            self._teller.tell(untold)


def _cannot_work() -> bool:
    """Whether the schema is wrong, as after somebody changed it: then every event fails, not this one."""
    why = surroundings.in_one_line(surroundings.problems())
    if why:
        log.error("nothing can be stored: %s", why)
    return bool(why)


def _unstorable(message: Message, error: Exception) -> DeadMessage:
    error_text = f"{type(error).__name__}: {error}"
    return as_letter(message, reason=DeadLetterReason.UNSTORABLE, error=error_text)


def _unstorable_among(letters: Sequence[DeadMessage]) -> int:
    return sum(letter.reason is DeadLetterReason.UNSTORABLE for letter in letters)


def _of_unknown_coupons(
    error: CouponsNotFound, messages: Sequence[Message], assigned: Source
) -> dict[PlaceInTopic, DeadMessage]:
    unknown = {request.place: request.event.coupon_id for request in error.requests}
    return {
        assigned.place_of(message): as_letter(
            message,
            reason=DeadLetterReason.COUPON_NOT_FOUND,
            error=f"there is no coupon {unknown[at]}",
        )
        for message in messages
        if (at := place(message)) in unknown
    }
