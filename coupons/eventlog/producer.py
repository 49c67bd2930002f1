"""Acknowledged publishing: one producer per process, made after fork, watched over.

``publish`` returns receipts: acknowledged, certainly not published, or uncertain. What a publish says
decides: a partition whose acknowledgements fail to come is tried by one record at a time, and all others are
refused at once (``circuits.py``). The watchdog looks at the brokers whenever something is wrong
(``broker_probe.py``): while none answers, claims are refused at once and nothing is queued.

The producer is made anew in three cases. Messages time out although it looked all the time as if their
partition could be written: a broker that lost its state makes a live idempotent producer fail for ever, and
librdkafka may keep to a leader that was replaced (its issue 4976). A fatal error. Or no broker has answered
for longer than a message may live: librdkafka may have forgotten all brokers (its issue 5301) and never ask
again. Where replicas are missing it stays, because librdkafka tries again by itself. Batches are made smaller
when the topic refuses them, as after somebody lowered its max.message.bytes.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import gevent
import gevent.event
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.circuits import Circuits, Held
from coupons.eventlog.delivery import Acknowledged, Delivery, NotPublished, Receipt, Record, Uncertain
from coupons.eventlog.events import partition_key, partition_of
from coupons.eventlog.place import Place
from coupons.eventlog.publication import Publication
from coupons.eventlog.watchdog import Watchdog
from runtime import for_life, greenlets, metrics
from runtime.short_sleep import ShortSleep

log = logging.getLogger(__name__)

#: librdkafka looks for messages that timed out once a second.
_REPORTED_S: Final = 2.0
#: Between looks for delivery reports, in the loop. Longer, and each claim is answered later by as much;
#: shorter, and the loop does little else.
_POLL_S: Final = 0.0005
#: While nothing is published: librdkafka's errors are noticed so late at most.
_IDLE_POLL_S: Final = 0.1
_SMALLER: Final = 8  #: batches become so many times smaller, each time that the topic refuses them


class EventProducer:
    """Publishes records and waits for the broker. Call ``close`` at the end.

    Thread-safe. If it is made in a loop, a greenlet of that loop fetches the delivery reports; if elsewhere,
    a thread does. The watchdog is a thread in both cases.
    """

    def __init__(self) -> None:
        self._topic = settings.CONFIG.kafka.topic
        self._timeout_s = settings.CONFIG.producer.publish_timeout_ms / 1000
        self._waiting_s = settings.CONFIG.producer.waiting_s
        self._stop = threading.Event()
        self._broken = ""  # why the producer must be made anew, if it must
        self._is_batch_refused = False
        self._batch_bytes = settings.CONFIG.producer.batch_bytes
        self._refusal = ""
        self._circuits = Circuits(send=self._send_held, probe_lives_s=self._timeout_s + _REPORTED_S)
        self._watchdog = Watchdog(
            topic=self._topic,
            timeout_s=self._timeout_s,
            circuits=self._circuits,
            mend=self._mend,
            rebuild=self.rebuild,
        )
        self._producer = self._make()
        self._serving: threading.Thread | None = None
        self._wanted: gevent.event.Event | None = None
        if greenlets.is_here():
            self._wanted = gevent.event.Event()
            for_life.spawn(self._serve_reports_in_loop)
        else:
            self._serving = threading.Thread(target=self._serve_reports, name="producer-poll", daemon=True)
            self._serving.start()
        self._watchdog.start()

    @property
    def is_down(self) -> bool:
        """Whether no broker answered when they were last asked. From any thread."""
        return self._watchdog.is_down

    @property
    def brokers(self) -> tuple[int, ...]:
        """The ids of the brokers, when they last answered. From any thread."""
        return self._watchdog.brokers

    @property
    def partitions(self) -> int:
        """How many partitions the topic has; 0: not known yet. From any thread."""
        return self._watchdog.partitions

    @property
    def dead_partitions(self) -> tuple[int, ...]:
        """The topic's partitions that cannot be written, as far as we know. From any thread."""
        return self._circuits.dead()

    @property
    def unpromising_partitions(self) -> frozenset[int]:
        """The topic's partitions that look dead, which nobody need try to read. From any thread."""
        return self._circuits.unpromising()

    @property
    def refuses_some(self) -> bool:
        """Whether ``refuses`` may be true of any coupon now. From any thread."""
        return self.is_down or not self._circuits.is_calm

    def refuses(self, coupon_id: int) -> bool:
        """Whether a claim of this coupon would be refused now: it need reserve nothing. From any thread."""
        if self.is_down:
            return True
        known = self._watchdog.partitions
        if not known or self._circuits.is_calm:
            return False
        return self._circuits.refuses(partition_of(partition_key(coupon_id), known))

    def takes(self, coupon_id: int) -> bool:
        """Whether it is worth while to prepare a claim of this coupon, which takes a reading of the log.

        False if no broker answers, or if the coupon's partition is known to be dead. From any thread.
        """
        if self.is_down:
            return False
        known = self._watchdog.partitions
        if not known or self._circuits.is_calm:
            return True
        return self._circuits.takes(partition_of(partition_key(coupon_id), known))

    @property
    def can_write(self) -> bool:
        """Whether any partition can be written, as far as we know. From any thread."""
        known = self._watchdog.partitions
        return not self.is_down and (not known or len(self.dead_partitions) < known)

    @property
    def refusal(self) -> str:
        """Why the broker does not let us in, in librdkafka's words; empty if that is not so."""
        return self._refusal

    @property
    def held(self) -> int:
        """Records that wait for the broker, and reports that are not fetched yet."""
        return len(self._producer)

    def suspect(self) -> None:
        """Let the watchdog look now: the caller found the broker silent. From any thread."""
        self._watchdog.suspect()

    def publish(self, records: Sequence[Record]) -> list[Receipt]:
        """Publish, wait for the broker, and return a receipt for each record, in the order given.

        Takes COUPON_PUBLISH_TIMEOUT_MS at most. In the loop the caller's greenlet sleeps, elsewhere its
        thread blocks. A broker that fails is a receipt, never an error.
        """
        receipts: dict[int, Receipt] = {}
        for part in self.publish_in_parts(records):
            receipts |= part
        return [receipts[index] for index in range(len(records))]

    def publish_in_parts(
        self, records: Sequence[Record], *, since: float | None = None
    ) -> Iterator[dict[int, Receipt]]:
        """As ``publish``; the receipts come in parts, by the record's index.

        Those of a partition that hangs come last, and the others do not wait for them; a record whose own
        ``until`` is over has its receipt then. ``since``: when the
        claims reserved, by the monotonic clock. A record goes to librdkafka within the publish timeout of
        that moment or not at all, and lives there for another one: the search for leaked slots relies on it.
        """
        started = time.monotonic()
        since = started if since is None else since
        if self.is_down:
            silent = NotPublished(error="the broker does not answer")
            yield dict.fromkeys(range(len(records)), silent)
            return
        publication = Publication(
            records,
            until=since + self._waiting_s,
            timeout_s=self._timeout_s,
            circuits=self._circuits,
            send=self._send,
            send_all=self._send_all,
            partition_of=self._partition_of,
            passed_on=self._passed_on,
            suspect=self._watchdog.suspect,
        )
        took_s = 0.0
        for part in publication.parts():
            took_s = time.monotonic() - started
            if any(isinstance(receipt, Acknowledged) for receipt in part.values()):
                self._watchdog.acknowledged_at = started + took_s
            yield part
        metrics.PUBLISH_SECONDS.observe(took_s)

    def close(self) -> None:
        """Deliver queued records, for as long as a message may live, and stop. Blocks its thread."""
        self._watchdog.ask_to_stop()
        self._producer.flush(self._timeout_s)
        self._stop.set()
        self._watchdog.join()
        if self._serving is not None:
            self._serving.join(1)

    def _make(self) -> Producer:
        changes = {"batch.size": self._batch_bytes, "error_cb": self._on_error}
        return Producer(kafka_client.producer_config() | changes)

    def _partition_of(self, record: Record) -> int | None:
        """The claim's partition; None for a record of another topic, or while the topic is not known."""
        if record.topic is not None or record.key is None or not self._watchdog.partitions:
            return None
        return partition_of(record.key, self._watchdog.partitions)

    def _passed_on(self) -> None:
        """librdkafka has the records: wake its thread, and the greenlet that fetches reports, if one does.

        The thread wakes at a batch's first record and then sleeps for a whole millisecond, however short the
        linger is. A flush that waits for nothing wakes it, and what has lingered is sent.
        """
        self._producer.flush(0)
        if self._wanted is not None:
            self._wanted.set()

    def _send_held(self, held: Held) -> None:
        self._send(held.record, held.index, held.delivery, time.monotonic())

    def _send_all(self, records: Sequence[Record], delivery: Delivery, sent_at: float) -> None:
        """As ``_send``, of a publication's records, in one call; librdkafka takes headers only one by one.

        Passed on one by one, the first few are sent before the last has come. With more than five of a
        partition on their way, librdkafka sends no others, and its thread spins until those are acknowledged.
        """
        if any(record.topic is not None or record.headers for record in records):
            for index, record in enumerate(records):
                self._send(record, index, delivery, sent_at)
            return
        messages: list[dict[str, Any]] = [
            {
                "key": record.key,
                "value": record.value,
                "callback": self._reporting(index, delivery, sent_at),
            }
            for index, record in enumerate(records)
        ]
        try:
            taken = self._producer.produce_batch(self._topic, messages)
        except (BufferError, KafkaException) as error:  # never seen: it may have taken some
            self._break("the producer refuses batches")
            for index in range(len(records)):
                delivery.note(index, Uncertain(error=str(error)))
            return
        if taken < len(messages):
            for index, message in enumerate(messages):
                if refusal := message.get("_error"):
                    self._refused(index, delivery, refusal)

    def _refused(self, index: int, delivery: Delivery, error: KafkaError) -> None:
        """Not queued: the buffer is full, or the record too large, or the producer's state fatal."""
        if error.code() != KafkaError._QUEUE_FULL:
            self._break("the producer refuses records")
        delivery.note(index, NotPublished(error=str(error)))

    def _reporting(
        self, index: int, delivery: Delivery, sent_at: float
    ) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            delivery.note(index, self._receipt(error, message, sent_at))

        return report

    def _send(self, record: Record, index: int, delivery: Delivery, sent_at: float) -> None:
        """Give it to librdkafka. In whichever thread or greenlet publishes, or in librdkafka's callback."""
        try:
            self._producer.produce(
                record.topic or self._topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=self._reporting(index, delivery, sent_at),
            )
        except BufferError:
            delivery.note(index, NotPublished(error="the producer's buffer is full"))
        except KafkaException as error:
            self._refused(index, delivery, error.args[0])

    def _receipt(self, error: KafkaError | None, message: Message, sent_at: float) -> Receipt:
        """Runs in librdkafka's callback, where polls run: it must not wait."""
        if error is None:
            place = Place(_number(message.partition()), _number(message.offset()))
            if not self._circuits.is_calm and message.topic() == self._topic:
                self._circuits.acknowledged(place.partition)
            return Acknowledged(place=place)
        log.warning("event not acknowledged: %s", error)
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:  # the batch is too large: each record alone may fit
            self._is_batch_refused = True
            self._watchdog.suspect()
            return NotPublished(error=str(error))
        # Purged from an old producer: the record may have been sent before, and its answer lost.
        if error.code() not in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            self._note_failure(error, message, sent_at)
        return Uncertain(error=str(error))

    def _note_failure(self, error: KafkaError, message: Message, sent_at: float) -> None:
        well_since = self._watchdog.well_since
        is_strange = well_since is not None and sent_at >= well_since
        partition = message.partition()
        if message.topic() == self._topic and partition is not None and partition >= 0:
            is_strange = self._circuits.failed(partition, sent_at=sent_at)
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._break(f"a fatal error: {error}")
        elif is_strange:
            self._break("messages timed out although leader and replicas are there")
        self._watchdog.suspect()

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._watchdog.suspect()

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's callback, in whichever thread or greenlet polls: it must not wait."""
        log.log(kafka_client.level_of(error), "producer: %s", error)
        self._refusal = kafka_client.refusal_in(error) or self._refusal
        if error.fatal():
            self._break(f"a fatal error: {error}")
        self._watchdog.suspect()

    def _serve_reports(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)

    def _serve_reports_in_loop(self) -> None:
        """Fetch delivery reports in the loop, never waiting inside librdkafka.

        A thread that waits there would compete with the loop for the interpreter at each report.
        """
        wanted = self._wanted or gevent.event.Event()
        with closing(ShortSleep()) as sleep:
            while not self._stop.is_set():
                self._producer.poll(0)
                if self.held:
                    sleep(_POLL_S)
                else:
                    wanted.clear()
                    wanted.wait(_IDLE_POLL_S)

    def _mend(self) -> None:
        """Runs in the watchdog's thread, the only one that makes the producer anew."""
        self._refusal = ""
        if self._is_batch_refused:
            self._batch_bytes = max(1, self._batch_bytes // _SMALLER)
            self.rebuild(f"the topic's max.message.bytes is too small: batches of {self._batch_bytes} bytes")
        elif self._broken:
            self.rebuild(self._broken)

    def rebuild(self, why: str) -> None:
        """Make a new producer for records to come; the old one's records get the receipt Uncertain.

        Call it in the watchdog's thread, never in the loop: it waits for the old producer's last reports.
        """
        log.warning("%s: the producer is made anew", why)
        old, self._producer = self._producer, self._make()
        self._broken, self._is_batch_refused = "", False
        metrics.PRODUCER_REBUILDS.inc()
        self._circuits.renew()
        old.purge(in_queue=True, in_flight=True)
        old.flush(1)


def _number(value: int | None) -> int:
    if value is None:
        raise RuntimeError("an acknowledged message has a partition and an offset")
    return value


class _PerProcess:
    """Makes the process's producer on its first use, because a producer made before a fork never delivers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._producer: EventProducer | None = None

    def get(self) -> EventProducer:
        if self._producer is None:
            with self._lock:
                if self._producer is None:
                    self._producer = EventProducer()
                    atexit.register(self.close)
        return self._producer

    def close(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            atexit.unregister(self.close)
            producer.close()


_process = _PerProcess()


def event_producer() -> EventProducer:
    """This process's producer. The first call connects; a gunicorn worker makes it when it starts."""
    return _process.get()


def close_event_producer() -> None:
    """Deliver queued records and stop; does nothing if no producer was made. Blocks its thread meanwhile."""
    _process.close()
