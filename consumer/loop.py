"""Poll, hand over, commit; wait in place while something is away; follow rebalances.

The only rule: an offset moves after its rows are durable. Everything else may happen twice.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.conf import settings
from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection

from consumer.committing import Committing
from consumer.dead_letters import DeadLettersNotAcknowledged, TooManyDeadLetters
from consumer.kafka import ClientLost, abandon, first_offsets, next_offsets, place, positions, timestamp_ms
from consumer.reach import Reach
from coupons import kafka_client
from coupons.issuing import StockChangedUnderLock
from couponsite import logs, metrics

log = logging.getLogger(__name__)

#: What is tried again, in place and in order, for as long as it lasts. Anything else is a bug and ends the
#: process with its trace: the offset has not moved, the events are delivered again.
RECOVERABLE: Final = (
    DatabaseLayerError,
    DeadLettersNotAcknowledged,
    StockChangedUnderLock,
    TooManyDeadLetters,  # halts: standing still, with a growing pause, until an operator acts
)


@dataclass(slots=True, kw_only=True)
class LoopState:
    """What health shows. Written by the loop's thread, read by others."""

    turned_at: float = field(default_factory=time.monotonic)
    has_joined: bool = False
    partitions: tuple[int, ...] = ()
    retrying_since: float | None = None
    retry_cause: str | None = None
    oldest_undecided_ms: int | None = None


class ConsumerLoop:
    """Runs until ``stop`` is set. ``process`` decides a batch durably, or raises."""

    def __init__(
        self,
        *,
        make_consumer: Callable[..., Consumer],
        process: Callable[[Sequence[Message]], None],
        batch_size: int,
        stop: threading.Event,
    ) -> None:
        self._topic = settings.CONFIG.kafka.topic
        self._settings = settings.CONFIG.consumer
        self._process = process
        self._batch_size = batch_size
        self._stop = stop
        self._make_consumer = make_consumer
        self.state = LoopState()
        metrics.OLDEST_UNDECIDED_SECONDS.set_function(self._oldest_undecided_s)

    def run(self) -> None:
        self._begin()
        try:
            while not self._stop.is_set():
                try:
                    self._run_once()
                except ClientLost as lost:
                    self._begin_anew(lost)
        finally:
            self._committing.send(self._consumer, is_last=True)
            self._consumer.close()

    def _begin(self) -> None:
        """Join the group with a new client, which knows nothing of what another was given."""
        self._committing = Committing(self._topic)
        self._reach = Reach(self._topic, session_timeout_s=self._settings.session_timeout_ms / 1000)
        self._consumer = self._make_consumer(on_error=self._on_error, on_commit=self._committing.answered)
        self._owned: set[int] = set()
        self._waiting = False
        self._held: list[Message] = []  # received while waiting
        self.state.has_joined = False
        self.state.retrying_since = self.state.retry_cause = self.state.oldest_undecided_ms = None
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _begin_anew(self, lost: ClientLost) -> None:
        log.error("the consumer's Kafka client is made anew: %s", lost)
        metrics.CONSUMER_REBUILDS.inc()
        self._on_lost(self._consumer, self._assignment())
        abandon(self._consumer)
        self._begin()

    def _run_once(self) -> None:
        self.state.turned_at = time.monotonic()
        batch = self._receive()
        if batch:
            self._decide(batch)
        self._committing.send(self._consumer)

    def _receive(self) -> list[Message]:
        """Whatever is there, at most a batch; waits only for the first."""
        messages, self._held = self._held, []
        if not messages:
            first = self._consumer.poll(self._settings.poll_timeout_ms / 1000)
            if first is None:
                self.state.oldest_undecided_ms = None
                self._reach.ask(self._consumer)
                return []
            self._reach.answered()
            messages = [first, *self._consumer.consume(self._batch_size - 1, timeout=0)]
        return self._received(messages)

    def _received(self, messages: Sequence[Message]) -> list[Message]:
        batch = []
        for message in messages:
            if (error := message.error()) is not None:
                self._on_error(error)
                continue
            batch.append(message)
        logs.info_each(log, "쿠폰 발급 이벤트 수신 - Partition: %s, Offset: %s", list(map(place, batch)))
        metrics.EVENTS_CONSUMED.inc(len(batch))
        return batch

    def _decide(self, batch: list[Message]) -> None:
        self.state.oldest_undecided_ms = min(filter(None, map(timestamp_ms, batch)), default=None)
        attempt = 0
        while batch := [message for message in batch if message.partition() in self._owned]:
            close_old_connections()
            try:
                self._process(batch)
                break
            except RECOVERABLE as error:
                attempt += 1
                self._measure_lag(first_offsets(batch), is_fetching=False)
                self._wait(attempt, error)
                if self._stop.is_set():
                    return  # nothing was committed: whoever comes next begins here
        self.state.retrying_since = self.state.retry_cause = None
        decided = next_offsets(batch)
        self._committing.decided(decided)
        self._measure_lag(decided)

    def _wait(self, attempt: int, error: Exception) -> None:
        """Stand still without leaving the group: paused, polling, with growing pauses."""
        cause = type(error).__name__
        metrics.RETRIES.labels(cause=cause).inc()
        longest_s = min(self._settings.retry_backoff_max_s, 0.1 * 2 ** min(attempt, 20))
        pause_s = longest_s * random.uniform(0.5, 1)
        log.warning("batch not decided, attempt %d, next in %.1f s: %s: %s", attempt, pause_s, cause, error)
        self.state.retrying_since = self.state.retrying_since or time.monotonic()
        self.state.retry_cause = cause
        connection.close()
        self._waiting = True
        self._consumer.pause(self._assignment())
        until = time.monotonic() + pause_s
        while time.monotonic() < until and not self._stop.is_set():
            message = self._consumer.poll(min(0.2, pause_s))
            if message is not None:
                self._held.append(message)
            self._committing.send(self._consumer)
            self.state.turned_at = time.monotonic()
        self._waiting = False
        self._consumer.resume(self._assignment())

    def _measure_lag(self, offsets: dict[int, int], *, is_fetching: bool = True) -> None:
        """``offsets``: the next to decide. What is fetched tells the ends with it; else ask the broker."""
        for position in positions(self._topic, offsets):
            try:
                _, high = self._consumer.get_watermark_offsets(position, timeout=1.0, cached=is_fetching)
            except KafkaException as error:
                log.info("the lag is not known: %s", error)
                return
            metrics.LAG.labels(partition=position.partition).set(max(0, high - position.offset))

    def _oldest_undecided_s(self) -> float:
        oldest_ms = self.state.oldest_undecided_ms
        return 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)

    def _assignment(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(self._owned)]

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._owned |= {each.partition for each in partitions}
        self._owned_changed("assigned", partitions)
        self.state.has_joined = True
        if self._waiting:
            consumer.assign(partitions)
            consumer.pause(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._committing.send(self._consumer, is_last=True)
        self._owned -= {each.partition for each in partitions}
        self._owned_changed("revoked", partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Not ours any more: the new owner decides again what we did not commit, which changes nothing.
        self._owned -= {each.partition for each in partitions}
        self._owned_changed("lost", partitions)

    def _owned_changed(self, what: str, partitions: Sequence[TopicPartition]) -> None:
        self._committing.own(self._owned)
        self.state.partitions = tuple(sorted(self._owned))
        log.info("partitions %s: %s", what, sorted(each.partition for each in partitions))
        for partition in (each.partition for each in partitions if what != "assigned"):
            metrics.LAG.remove(str(partition))

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka mends what can be mended; a fatal error needs a new process."""
        log.log(kafka_client.level_of(error), "consumer: %s", error)
        if error.fatal():
            raise KafkaException(error)
