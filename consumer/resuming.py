"""Deferred events are decided once the deciding of their coupon is resumed: in their order, in batches.

Any consumer may do it, one at a time for each coupon. Meanwhile whoever has the coupon's partition defers
newer events too, so that they come behind these.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, Protocol, cast

import redis_lock
from confluent_kafka import KafkaError, Message
from django.conf import settings
from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from consumer.kafka import place
from consumer.partitions import PlaceInTopic
from consumer.processor import RECOVERABLE
from consumer.source import Source
from consumer.state import LoopState
from coupons.eventlog import deferred
from coupons.eventlog.deferred import DecidingPaused, Deferred, DeferredMoved
from coupons.eventlog.positions import Advance
from coupons.operations import deferring
from runtime import database_roles, metrics

log = logging.getLogger(__name__)

#: Shorter, and each consumer asks the database more often for nothing; longer, and a resumed coupon waits.
_LOOK_EVERY_S: Final = 1.0
#: One turn of the loop spends so long on resumed coupons at most, or one batch. Shorter, and a million
#: deferred events take longer; longer, and other coupons' events wait longer between their batches.
_TURN_S: Final = 0.2
#: A coupon that cannot be decided (somebody holds its row, say) rests, each time twice as long, up to this.
#: Each try holds up the whole loop until the database gives up. Shorter, and a coupon that fails slows down
#: all others; longer, and it waits once it could go on.
_LONGEST_REST_S: Final = 30.0
#: A consumer that died keeps the others from its coupon for so long. Shorter than a batch may take, and two
#: consumers decide the same events, of whom one has worked in vain; longer, and the coupon waits.
_EXPIRES_S: Final = 30


class Rest(NamedTuple):
    until: float  #: by the monotonic clock
    seconds: float


class ResumedProcessor(Protocol):
    """Decides batches of deferred events. Called in the loop's thread."""

    def process(self, messages: Sequence[Message], assigned: Source) -> None:
        """Decide these messages durably. Raises DecidingPaused, DeferredMoved, one of RECOVERABLE."""


class Resuming:
    """For the loop's thread, which calls ``step`` between two batches of the log."""

    def __init__(
        self, processor: ResumedProcessor, *, batch_size: int, state: LoopState, turn_s: float = _TURN_S
    ) -> None:
        self._processor = processor
        self._batch_size = batch_size
        self._state = state
        self._turn_s = turn_s
        self.look_at = 0.0  #: when it asks the database next, by the monotonic clock
        self.rests: dict[int, Rest] = {}  #: coupons that could not be decided
        self._last = 0  # the coupon that had its turn last

    def step(self) -> None:
        """Decide some deferred events, if there are any to decide. Waits for database, broker and Redis."""
        if time.monotonic() < self.look_at:
            return
        self.look_at = time.monotonic() + _LOOK_EVERY_S
        close_old_connections()
        try:
            with database_roles.watched():
                self._step()
            if not self.rests:
                self._state.resumes()
        except RECOVERABLE as error:
            cause = type(error).__name__
            metrics.RETRIES.labels(cause=cause).inc()
            log.warning("deferred events are not decided yet: %s: %s", cause, error)
            if self._state.deferring:  # else nothing of ours waits, and the loop says what does
                self._state.cannot_resume(cause)
            if isinstance(error, DatabaseLayerError):
                connection.close()

    def _step(self) -> None:
        found = deferring.look()
        self._state.deferring = {each.coupon_id: each.told() for each in found}
        until = time.monotonic() + self._turn_s
        resumed = {each.coupon_id for each in found if each.is_resumed}
        self.rests = {coupon_id: rest for coupon_id, rest in self.rests.items() if coupon_id in resumed}
        for coupon_id in self._in_turn(resumed):
            self._last = coupon_id
            with self._resting(coupon_id), _turn(coupon_id) as is_ours:
                if is_ours and self._decide(coupon_id, until):
                    self.look_at = 0.0  # there is more
            if time.monotonic() >= until:
                return

    def _in_turn(self, coupon_ids: Collection[int]) -> list[int]:
        """Those that do not rest, beginning after the one that had its turn last: none waits for another."""
        now = time.monotonic()
        ready = [
            each for each in sorted(coupon_ids) if each not in self.rests or self.rests[each].until <= now
        ]
        return [each for each in ready if each > self._last] + [each for each in ready if each <= self._last]

    @contextmanager
    def _resting(self, coupon_id: int) -> Iterator[None]:
        """Where deciding this coupon fails, let it rest for a while."""
        try:
            yield
        except RECOVERABLE:
            before_s = self.rests[coupon_id].seconds if coupon_id in self.rests else _LOOK_EVERY_S / 2
            rest_s = min(2 * before_s, _LONGEST_REST_S)
            self.rests[coupon_id] = Rest(time.monotonic() + rest_s, rest_s)
            raise
        self.rests.pop(coupon_id, None)

    def _decide(self, coupon_id: int, until: float) -> bool:
        """Decide the coupon's deferred events until there are none or it is time; whether more wait."""
        source = ResumedCoupon(coupon_id)
        while some := deferred.first(coupon_id, most=self._batch_size):
            try:
                self._processor.process(source.messages(some), source)
            except (DecidingPaused, DeferredMoved) as error:
                log.info("%s", error)
                return False
            log.info("%d deferred events of coupon %s are decided", len(some), coupon_id)
            if time.monotonic() >= until:
                return True
        return False


class ResumedCoupon:
    """A coupon's deferred events as a source of batches: their rows are taken away, and no position moves."""

    def __init__(self, coupon_id: int) -> None:
        self.resumed = coupon_id

    def messages(self, found: Sequence[Deferred]) -> list[Message]:
        return [cast("Message", DeferredMessage(each)) for each in found]

    def place_of(self, message: Message) -> PlaceInTopic:
        return PlaceInTopic("", place(message))

    def advances(self, messages: Iterable[Message]) -> list[Advance]:
        return []

    def advanced(self, advances: Sequence[Advance]) -> None: ...


class DeferredMessage:
    """As much of confluent_kafka's Message as is looked at to decide it, and to make a dead letter of it."""

    def __init__(self, kept: Deferred) -> None:
        self._kept = kept

    def topic(self) -> str:
        return settings.CONFIG.kafka.topic

    def partition(self) -> int:
        return self._kept.place.partition

    def offset(self) -> int:
        return self._kept.place.offset

    def key(self) -> bytes | None:
        return self._kept.original.key

    def value(self) -> bytes | None:
        return self._kept.original.value

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self._kept.original.headers.items())

    def timestamp(self) -> tuple[int, int]:
        """The kind of time (0: none) and the time in Unix milliseconds, as librdkafka tells them."""
        written_ms = self._kept.original.written_ms
        return (0, 0) if written_ms is None else (1, written_ms)

    def error(self) -> KafkaError | None:
        return None


@contextmanager
def _turn(coupon_id: int) -> Iterator[bool]:
    """Whether it is our turn to decide this coupon's deferred events. Without Redis it is everybody's.

    It saves work and nothing else: under the coupon's row lock they must still be its first ones.
    """
    lock = redis_lock.Lock(
        get_redis_connection("locks"), f"{{coupon-resuming:{coupon_id}}}", expire=_EXPIRES_S
    )
    try:
        is_held = lock.acquire(blocking=False)
    except RedisError:
        yield True
        return
    try:
        yield is_held
    finally:
        if is_held:
            with suppress(redis_lock.NotAcquired, RedisError):  # the turn expires by itself
                lock.release()
