"""Poll, hand over; wait in place while something is away; follow rebalances and the database's positions.

One rule makes this safe: a position moves in the transaction that decides the events in front of it
(coupons/eventlog/positions.py). Everything else may happen twice.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.conf import settings
from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection

from consumer.broker_watch import BrokerWatch
from consumer.fetching import Fetching
from consumer.ground_watch import GroundWatch
from consumer.group import JoinAnew, Membership, is_fatal
from consumer.kafka import ClientLost, abandon, close, first_offsets, place, timestamp_ms, topic_partitions
from consumer.offsets import OffsetCopy
from consumer.partitions import AssignedPartitions
from consumer.processor import RECOVERABLE, Processor
from consumer.rebalances import Rebalances
from consumer.state import LoopState
from coupons.eventlog import kafka_client
from coupons.eventlog.place import NextOffset
from coupons.eventlog.positions import PositionMoved
from runtime import database_roles, logs, metrics

log = logging.getLogger(__name__)


class ConsumerLoop:
    """Runs until ``stop`` is set.

    All of it runs in one thread, the consumer's main thread. librdkafka's callbacks (``_on_assign`` and its
    like) run there too, inside poll() and consume(): they must not wait for long, nor poll.
    """

    def __init__(
        self,
        *,
        make_consumer: Callable[..., Consumer],
        processor: Processor,
        batch_size: int,
        stop: threading.Event,
        on_partitions: Callable[[], None] = lambda: None,
    ) -> None:
        self._topic = settings.CONFIG.kafka.topic
        self._settings = settings.CONFIG.consumer
        self._processor = processor
        self._batch_size = batch_size
        self._stop = stop
        self._make_consumer = make_consumer
        self._on_partitions = on_partitions
        self._membership = Membership()
        self.state = LoopState()
        self.state.show_in_metrics()
        #: called between two batches: what else is to be decided (``consumer/resuming.py``)
        self.between: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Run until ``stop`` is set, in the calling thread; then leave the group."""
        self._begin()
        try:
            while not self._stop.is_set():
                try:
                    self._run_once()
                except ClientLost as lost:
                    self._end_client(lost)
                    self._begin()
        finally:
            self._processor.tell()
            self._copy_offsets(is_last=True)
            close(self._consumer)

    def _begin(self) -> None:
        """Join the group with a new client, which knows nothing of an earlier client's partitions."""
        self._assigned = AssignedPartitions(self._topic)
        self._copy = OffsetCopy(self._topic)
        self._broker_watch = BrokerWatch(
            self._topic, session_timeout_s=self._settings.session_timeout_ms / 1000
        )
        self._consumer = self._make_consumer(
            protocol=self._membership.choose(), on_error=self._on_error, on_commit=self._copy.answered
        )
        self._fetching = Fetching(
            self._consumer, topic=self._topic, is_incremental=self._membership.is_incremental
        )
        self._held: list[Message] = []  # received while the batch in hand waited or was decided
        self._outside: set[int] = set()  # partitions with nothing at their position
        self._ground_watch = GroundWatch()
        self._rebalances = Rebalances()
        self.state.has_joined = False
        self.state.oldest_undecided_ms = None
        self.state.stuck = {}
        self.state.retrying_since = self.state.retry_cause = None
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _end_client(self, lost: ClientLost) -> None:
        """Part with a client that is of no use, and wait until the next one may be."""
        self._let_go(self._partitions(), "lost")
        if isinstance(lost, JoinAnew):
            log.warning("the consumer joins the group anew: %s", lost)
            close(self._consumer)
            self._stop.wait(lost.pause_s)
        else:
            log.error("the consumer's Kafka client is made anew: %s", lost)
            metrics.CONSUMER_REBUILDS.inc()
            abandon(self._consumer)

    def _run_once(self) -> None:
        self.state.turned_at = time.monotonic()
        if not self._assigned.is_found:
            self._find_positions()
        batch = self._receive()
        if batch or self._assigned.has_read_past:
            self._decide(batch)
        if self._outside:
            self._look_outside()
        self.between()
        self._copy_offsets()

    def _find_positions(self) -> None:
        """Begin at the database's positions, in the partitions that are assigned to us."""
        close_old_connections()
        try:
            with database_roles.watched():
                found = self._assigned.find(self._consumer)
        except (DatabaseLayerError, KafkaException) as error:
            self.state.waits()
            self.state.retries(type(error).__name__)
            log.warning("the position in the log is not known: %s", error)
            connection.close()
            self._stop.wait(0.2)
            return
        if found:
            if not self._membership.is_incremental:
                self._held = []
                self._assigned.begins_anew()
            self._fetching.begin(self._assigned.assignment(), anew=found)
            self._on_partitions()
        self._has_joined()
        self.state.stuck = dict(self._assigned.stuck)
        self.state.retrying_since = self.state.retry_cause = None

    def _begin_at_rows(self) -> None:
        """Look for the positions of all partitions anew; nothing is read until they are found."""
        self._assigned.forget(self._assigned.owned)
        self._held = []
        self._outside.clear()
        if self._assigned.owned:  # they may all have been revoked while the batch was decided
            self._fetching.stop()

    def _receive(self) -> list[Message]:
        """The messages that are there, at most a batch; waits only for the first."""
        messages, self._held = self._held, []
        if not messages:
            self._processor.tell()
            first = self._consumer.poll(self._settings.poll_timeout_ms / 1000)
            if first is None:
                self._rest()
                return []
            self._broker_watch.answered()
            messages = [first, *self._consumer.consume(self._batch_size - 1, timeout=0)]
        self._look_around()
        return self._received(messages)

    def _rest(self) -> None:
        """While nothing comes, ask whether there is nothing, or whether the client does not fetch it."""
        self.state.oldest_undecided_ms = None
        if not self.state.has_joined and self._membership.is_counted(self._consumer):
            self._has_joined()
        match self._broker_watch.ask(self._consumer, self._assigned.assignment()):
            case True:
                self.state.waits()
            case False:
                self.state.goes_on()
        self._look_around()

    def _look_around(self) -> None:
        """Begin anew if positions or topic are not the same any more, which a busy loop would not notice."""
        if not self._ground_watch.is_as_before(self._assigned):
            self._begin_at_rows()

    def _received(self, messages: Sequence[Message]) -> list[Message]:
        batch = []
        for message in messages:
            if (error := message.error()) is not None:
                self._on_message_error(message, error)
            elif self._assigned.is_next(message):
                batch.append(message)
                if self._outside:
                    # Messages come, so the error was about an earlier assignment's position, and came late.
                    self._outside.discard(place(message).partition)
        logs.info_each(log, "쿠폰 발급 이벤트 수신 - Partition: %s, Offset: %s", list(map(place, batch)))
        metrics.EVENTS_CONSUMED.inc(len(batch))
        return batch

    def _on_message_error(self, message: Message, error: KafkaError) -> None:
        partition, offset = message.partition(), message.offset()
        match error.code():
            case KafkaError._PARTITION_EOF if partition is not None and offset is not None:
                self._assigned.note_end(partition, NextOffset(offset))
            case KafkaError._AUTO_OFFSET_RESET if partition is not None:
                self._outside.add(partition)
            case _:
                self._on_error(error)

    def _look_outside(self) -> None:
        """Find out why the broker has nothing at these partitions' positions; earlier events are decided."""
        for partition in self._outside:
            try:
                self._assigned.look_outside(partition, self._consumer)
            except (DatabaseLayerError, KafkaException) as error:
                log.warning(
                    "partition %s: nothing is at its position, and why is not known: %s", partition, error
                )
                self._assigned.forget([partition])
        self._outside.clear()
        self.state.stuck = dict(self._assigned.stuck)

    def _decide(self, batch: list[Message]) -> None:
        self.state.oldest_undecided_ms = min(filter(None, map(timestamp_ms, batch)), default=None)
        attempt = 0
        while batch or self._assigned.has_read_past:
            self.state.waits()
            try:
                with self._rebalances.held_back():
                    self._processor.process(batch, self._assigned, partial(self._read_ahead, batch))
            except PositionMoved as moved:
                log.warning("%s: looking where to go on", moved)
                self._begin_at_rows()
                return
            except RECOVERABLE as error:
                attempt += 1
                self._measure_lag(first_offsets(batch), is_fetching=False)
                self._wait(attempt, error)
                if self._stop.is_set():
                    return  # nothing was committed: the next consumer begins here
                batch = list(filter(self._assigned.is_next, batch))  # a part may be decided, or revoked
            else:
                self.state.goes_on()
                batch = []
        self.state.goes_on()  # the rest of the batch may have been revoked while it waited
        self._measure_lag(self._assigned.next_offsets())

    def _read_ahead(self, batch: Sequence[Message]) -> Sequence[Message]:
        """Receive the next batch while this one is decided, if this one is full: then more is there already.

        What is in ``_held`` may still be dropped: by a rebalance, or because a position moved. A batch that
        is not full has none beside it: the next one is larger if it is received later.
        """
        if len(batch) >= self._batch_size and not self._held:
            self._held = self._consumer.consume(self._batch_size, timeout=0)
        return self._held

    def _wait(self, attempt: int, error: Exception) -> None:
        """Stand still without leaving the group: paused, and polling. Pauses grow with ``attempt``."""
        cause = type(error).__name__
        metrics.RETRIES.labels(cause=cause).inc()
        longest_s = min(self._settings.retry_backoff_max_s, 0.1 * 2 ** min(attempt, 20))
        pause_s = longest_s * random.uniform(0.5, 1)
        log.warning("batch not decided, attempt %d, next in %.1f s: %s: %s", attempt, pause_s, cause, error)
        self.state.retries(cause)
        self._processor.tell()
        self._consumer.pause(self._assigned.assignment())
        until = time.monotonic() + pause_s
        while time.monotonic() < until and not self._stop.is_set():
            message = self._consumer.poll(min(0.2, pause_s))
            if message is not None:
                self._held.append(message)
            self._copy_offsets()
            self.state.turned_at = time.monotonic()
        self._consumer.resume(self._assigned.assignment())

    def _copy_offsets(self, *, is_last: bool = False) -> None:
        self._copy.send(self._consumer, self._assigned.next_offsets(), is_last=is_last)

    def _measure_lag(self, offsets: Mapping[int, NextOffset], *, is_fetching: bool = True) -> None:
        """``offsets``: the next to decide. Fetches report the partitions' ends; else the broker is asked."""
        for position in topic_partitions(self._topic, offsets):
            try:
                _, high = self._consumer.get_watermark_offsets(position, timeout=1.0, cached=is_fetching)
            except KafkaException as error:
                log.info("the lag is not known: %s", error)
                return
            metrics.LAG.labels(partition=position.partition).set(max(0, high - position.offset))

    def _partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(self._assigned.owned)]

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._fetching.assigned()  # the database has the positions, and it may be away
        self._rebalances.make(partial(self._take_over, partitions))

    def _take_over(self, partitions: list[TopicPartition]) -> None:
        self._assigned.own({each.partition for each in partitions})
        if not self._assigned.owned:  # more consumers than partitions: this one has none
            self._has_joined()
        self._owned_changed("assigned", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._copy_offsets(is_last=True)
        self._fetching.revoked({each.partition for each in partitions})
        self._rebalances.make(partial(self._lose, partitions, "revoked"))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # The partitions are not ours any more: their new owner goes on at the database's positions.
        self._fetching.revoked({each.partition for each in partitions})
        self._rebalances.make(partial(self._lose, partitions, "lost"))

    def _lose(self, partitions: list[TopicPartition], what: str) -> None:
        """Without any partition there is nothing to decide, to retry or to wait for."""
        self._let_go(partitions, what)
        if not self._assigned.owned:
            self.state.goes_on()
            self.state.oldest_undecided_ms = None

    def _let_go(self, partitions: list[TopicPartition], what: str) -> None:
        gone = {each.partition for each in partitions}
        self._assigned.lose(gone)
        self._held = [each for each in self._held if each.partition() not in gone]
        if what == "lost" or not self._membership.is_incremental:
            self.state.has_joined = False
        self._owned_changed(what, partitions)

    def _owned_changed(self, what: str, partitions: Sequence[TopicPartition]) -> None:
        self._copy.forget()
        self.state.partitions = tuple(sorted(self._assigned.owned))
        self.state.stuck = dict(self._assigned.stuck)
        log.info("partitions %s: %s", what, sorted(each.partition for each in partitions))
        for partition in (each.partition for each in partitions if what != "assigned"):
            metrics.LAG.remove(str(partition))

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka recovers from errors by itself, except from fatal ones, which need a new process."""
        log.log(kafka_client.level_of(error), "consumer: %s", error)
        self._membership.refused(error)
        if is_fatal(error):
            raise KafkaException(error)

    def _has_joined(self) -> None:
        self.state.has_joined = True
        self._membership.joined()
