"""Construction of the Kafka consumer, and offset arithmetic."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.place import NextOffset, Place

log = logging.getLogger(__name__)

LET_GO_AFTER_S: Final = 5.0  #: of a lost client: by then nobody uses it any more
_CLOSED_AFTER_S: Final = 15.0  #: a broker that is busy needs some; who waits for our end is less patient


class ClientLost(RuntimeError):
    """librdkafka will not mend this client; a new one begins where the database says."""


def make_consumer(
    *,
    group_id: str,
    on_error: Callable[[KafkaError], None],
    on_commit: Callable[[KafkaError | None, list[TopicPartition]], None],
) -> Consumer:
    """A consumer that begins where it is told to and commits only what it is told to.

    ``on_commit`` hears how an asynchronous commit ended, in poll and consume.
    """
    consumer = settings.CONFIG.consumer
    return Consumer(
        kafka_client.common()
        | {
            "group.id": group_id,
            # Never a jump: an offset outside of the log is an error that is shown (consumer/partitions.py).
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "session.timeout.ms": consumer.session_timeout_ms,
            "heartbeat.interval.ms": max(consumer.session_timeout_ms // 15, 100),
            "max.poll.interval.ms": consumer.max_poll_interval_ms,
            "fetch.min.bytes": consumer.fetch_min_bytes,
            "fetch.wait.max.ms": consumer.fetch_wait_max_ms,
            "fetch.message.max.bytes": consumer.fetch_message_max_bytes,
            # What is read ahead: some batches, not the 100,000 events and 64 MB of librdkafka's defaults.
            "queued.min.messages": 10_000,
            "queued.max.messages.kbytes": 16_384,
            # A broker that stands still is noticed within the poll interval.
            "socket.timeout.ms": 10_000,
            "error_cb": on_error,
            "on_commit": on_commit,
        }
    )


def abandon(consumer: Consumer) -> None:
    """Let go of a lost client without closing it, which could wait for ever, as its destruction could.

    So the last reference goes in a thread of its own, some time after the caller has dropped his. Its
    partitions go to others after the session timeout.
    """
    held = [consumer]
    letting_go = threading.Timer(LET_GO_AFTER_S, held.clear)
    letting_go.daemon = True
    letting_go.start()


def close(consumer: Consumer) -> None:
    """Leave the group; a client that does not come to an end is let go of.

    librdkafka closes when each commit was answered, and may lose one that the coordinator could not take
    for a moment. The process ends all the same; its partitions go to others after the session timeout.
    """
    closing = threading.Thread(target=consumer.close, name="kafka-close", daemon=True)
    closing.start()
    closing.join(_CLOSED_AFTER_S)
    if closing.is_alive():
        log.warning("the Kafka client did not close within %.0f s", _CLOSED_AFTER_S)


def place(message: Message) -> Place:
    """Where a received message stands."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise RuntimeError("a received message has a partition and an offset")
    return Place(partition, offset)


def next_offsets(messages: Iterable[Message]) -> dict[int, NextOffset]:
    """Where to go on once these are done, by partition: after the last of them."""
    return {at.partition: at.following for at in sorted(map(place, messages))}


def first_offsets(messages: Iterable[Message]) -> dict[int, NextOffset]:
    """Where to go on while none of these is done, by partition: at the first of them."""
    return {at.partition: NextOffset(at.offset) for at in sorted(map(place, messages), reverse=True)}


def headers_of(message: Message) -> dict[str, bytes]:
    """Its headers; none if their names are not UTF-8: then none of them is ours."""
    try:
        headers = message.headers() or []
    except (SystemError, UnicodeDecodeError):  # the first is how the client's C code tells the second
        return {}
    return {
        name: value if isinstance(value, bytes) else str(value or "").encode()
        for name, value in dict(headers).items()
    }


def positions(topic: str, offsets: Mapping[int, NextOffset]) -> list[TopicPartition]:
    """What librdkafka calls these offsets, by partition."""
    return [TopicPartition(topic, partition, offset) for partition, offset in sorted(offsets.items())]


def timestamp_ms(message: Message) -> int | None:
    """When the producer or the broker says it was written; None if neither does."""
    kind, value = message.timestamp()
    return int(value) if kind else None
