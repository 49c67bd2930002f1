"""Acknowledged publishing: one producer per process, made after fork, watched over.

``publish`` returns receipts: acknowledged, certainly not published, or uncertain. The watchdog asks the
broker for metadata whenever something looks wrong: while the broker does not answer, claims are refused at
once and nothing is queued. The producer is made anew in two cases. Either messages still time out although
the broker answers: a broker that lost its state makes a live idempotent producer fail for ever, without a
fatal error. Or no broker has answered for longer than a message may live: librdkafka may have forgotten all
brokers (its issue 5301) and never ask again. Batches are made smaller when the topic refuses them, as after
somebody lowered its max.message.bytes.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

import gevent
import gevent.event
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.delivery import Acknowledged, Delivery, NotPublished, Receipt, Record, Uncertain
from coupons.eventlog.place import Place
from runtime import greenlets, metrics

log = logging.getLogger(__name__)

#: A broker that does not answer for so long is down, and claims are refused at once. Shorter, and a slow
#: broker is taken for a dead one; longer, and claims wait for their publish timeout instead.
PROBE_TIMEOUT_S: Final = 2.0
#: A broker that is down is asked so often. Longer, and claims are refused for longer after it is back.
_PROBE_EVERY_S: Final = 1.0
#: A broker may die silently while nobody claims: shorter, and idle workers ask for nothing; longer, and the
#: first claims after that wait for their publish timeout.
_LOOK_EVERY_S: Final = 10.0
#: A producer without a broker is made anew after the publish timeout and so long. Shorter, and one that is
#: about to reconnect is thrown away; longer, and a producer that librdkafka gave up refuses claims for
#: longer.
PATIENCE_S: Final = 10.0
#: A publish that takes longer makes the watchdog look. Shorter, and ordinary peaks do; longer, and a broker
#: that hangs is noticed only by the first timeouts.
_SLOW_S: Final = 1.0
#: Between looks for delivery reports, in the loop. Longer, and each claim is answered later by as much;
#: shorter, and the loop does little else.
_POLL_S: Final = 0.001
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
        self._stop = threading.Event()
        self._suspicion = threading.Event()  # set when something failed: the watchdog looks at once
        self._timed_out = False  # whether a message was not delivered since the producer was made
        self._is_batch_refused = False
        self._batch_bytes = settings.CONFIG.producer.batch_bytes
        self._is_down = False
        self._down_since = 0.0
        self._brokers: tuple[int, ...] = ()
        self._refusal = ""
        self._producer = self._make()
        self._threads = [threading.Thread(target=self._watch, name="producer-watchdog", daemon=True)]
        self._under_way = 0  # calls of ``publish`` that wait for their reports
        if greenlets.is_here():
            self._wanted = gevent.event.Event()
            greenlets.spawn_for_life(self._serve_reports_in_loop)
        else:
            serving = threading.Thread(target=self._serve_reports, name="producer-poll", daemon=True)
            self._threads.append(serving)
        for thread in self._threads:
            thread.start()
        self._suspicion.set()

    @property
    def is_down(self) -> bool:
        """Whether the broker did not answer when it was last asked. From any thread."""
        return self._is_down

    @property
    def brokers(self) -> tuple[int, ...]:
        """The ids of the brokers, when they last answered. From any thread."""
        return self._brokers

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
        self._suspicion.set()

    def publish(self, records: Sequence[Record]) -> list[Receipt]:
        """Publish, wait for the broker, and return a receipt for each record, in the order given.

        Takes COUPON_PUBLISH_TIMEOUT_MS and a second at most. In the loop the caller's greenlet sleeps,
        elsewhere its thread blocks. A broker that fails is a receipt, never an error.
        """
        if self._is_down:
            return [NotPublished(error="the broker does not answer")] * len(records)
        started = time.monotonic()
        delivery = Delivery(len(records))
        for index, record in enumerate(records):
            self._enqueue(record, index, delivery)
        self._under_way += 1
        if greenlets.is_here():
            self._wanted.set()
        if not delivery.is_complete(_SLOW_S):  # a broker that hangs is noticed before the first timeout
            self._suspicion.set()
        receipts = delivery.wait(self._timeout_s + 1 - _SLOW_S)
        self._under_way -= 1
        metrics.PUBLISH_SECONDS.observe(time.monotonic() - started)
        return receipts

    def close(self) -> None:
        """Deliver queued records, for as long as a message may live, and stop. Blocks its thread."""
        self._producer.flush(self._timeout_s)
        self._stop.set()
        self._suspicion.set()
        for thread in self._threads:
            thread.join(PROBE_TIMEOUT_S + 1)

    def _make(self) -> Producer:
        changes = {"batch.size": self._batch_bytes, "error_cb": self._on_error}
        return Producer(kafka_client.producer_config() | changes)

    def _enqueue(self, record: Record, index: int, delivery: Delivery) -> None:
        def report(error: KafkaError | None, message: Message) -> None:
            delivery.note(index, self._receipt(error, message))

        try:
            self._producer.produce(
                record.topic or self._topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=report,
            )
        except BufferError:
            delivery.note(index, NotPublished(error="the producer's buffer is full"))
        except KafkaException as error:  # refused before it was queued: a fatal state, or a message too large
            self._timed_out = True
            self._suspicion.set()
            delivery.note(index, NotPublished(error=str(error)))

    def _receipt(self, error: KafkaError | None, message: Message) -> Receipt:
        if error is None:
            return Acknowledged(place=Place(_number(message.partition()), _number(message.offset())))
        log.warning("event not acknowledged: %s", error)
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:  # the batch is too large: each record alone may fit
            self._is_batch_refused = True
            self._suspicion.set()
            return NotPublished(error=str(error))
        # Purged from an old producer: the record may have been sent before, and its answer lost.
        if error.code() not in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            self._timed_out = True
            self._suspicion.set()
        return Uncertain(error=str(error))

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's callback, in whichever thread or greenlet polls: it must not wait."""
        log.log(kafka_client.level_of(error), "producer: %s", error)
        self._refusal = kafka_client.refusal_in(error) or self._refusal
        self._suspicion.set()

    def _serve_reports(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)

    def _serve_reports_in_loop(self) -> None:
        """Fetch delivery reports in the loop, never waiting inside librdkafka.

        A thread that waits there would compete with the loop for the interpreter at each report.
        """
        while not self._stop.is_set():
            self._producer.poll(0)
            if not self._under_way:
                self._wanted.clear()
                self._wanted.wait(_IDLE_POLL_S)
            else:
                gevent.sleep(_POLL_S)

    def _watch(self) -> None:
        """The watchdog's thread: the only one that makes the producer anew."""
        while not self._stop.is_set():
            # Looks without suspicion too: a broker may die silently while nobody claims.
            self._suspicion.wait(_PROBE_EVERY_S if self._is_down else _LOOK_EVERY_S)
            if self._stop.is_set():
                return
            self._suspicion.clear()
            self._set_down(not self._broker_answers())
            if self._is_down:
                if time.monotonic() - self._down_since > self._timeout_s + PATIENCE_S:
                    self._down_since = time.monotonic()  # the new producer gets as long
                    self.rebuild("neither broker nor topic has answered for long")
                self._stop.wait(_PROBE_EVERY_S)
            elif self._is_batch_refused:
                self._batch_bytes = max(1, self._batch_bytes // _SMALLER)
                self.rebuild(
                    f"the topic's max.message.bytes is too small: batches of {self._batch_bytes} bytes"
                )
            elif self._timed_out:
                self.rebuild("messages timed out although the broker answers")

    def _broker_answers(self) -> bool:
        try:
            told = self._producer.list_topics(self._topic, timeout=PROBE_TIMEOUT_S)
        except KafkaException:
            return False
        self._brokers = tuple(sorted(told.brokers))
        self._refusal = ""
        return told.topics[self._topic].error is None

    def _set_down(self, is_down: bool) -> None:
        if is_down != self._is_down:
            self._down_since = time.monotonic()
            log.warning("the broker %s", "does not answer" if is_down else "answers again")
        self._is_down = is_down
        metrics.PRODUCER_UP.set(not is_down)

    def rebuild(self, why: str) -> None:
        """Make a new producer for records to come; the old one's records get the receipt Uncertain.

        Call it in the watchdog's thread, never in the loop: it waits for the old producer's last reports.
        """
        log.warning("%s: the producer is made anew", why)
        old, self._producer = self._producer, self._make()
        self._timed_out = self._is_batch_refused = False
        metrics.PRODUCER_REBUILDS.inc()
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
