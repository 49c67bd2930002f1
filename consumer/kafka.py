"""Construction of the Kafka consumer, and offset arithmetic."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.place import NextOffset, Place
from runtime.config.kafka import GroupProtocol

log = logging.getLogger(__name__)

#: A lost client is destroyed so long after it was abandoned, when the loop holds no reference any more.
#: Shorter, and the loop's own thread may destroy it, and hang; longer does no harm.
LET_GO_AFTER_S: Final = 5.0
#: A busy broker needs some seconds to answer the last commits. Shorter, and the partitions wait for the
#: session timeout; longer, and the process is killed by what waits for its end.
_CLOSED_AFTER_S: Final = 15.0

#: A client that has read enough ahead fetches again after so long. With librdkafka's default, 1 s, the loop
#: has decided all of it and waits; shorter, and the client looks more often for nothing.
_FETCH_AGAIN_MS: Final = 20


class ClientLost(RuntimeError):
    """librdkafka does not recover this client; a new one begins at the database's positions."""


def make_consumer(
    *,
    group_id: str,
    protocol: GroupProtocol,
    on_error: Callable[[KafkaError], None],
    on_commit: Callable[[KafkaError | None, list[TopicPartition]], None],
) -> Consumer:
    """A consumer that begins at the offsets it is assigned, and commits only when asked.
    ``on_error`` and ``on_commit`` (the end of an asynchronous commit) run inside poll() and consume(), in the
    thread that calls these.
    """
    consumer = settings.CONFIG.consumer
    return Consumer(
        kafka_client.common()
        | {
            "group.id": group_id,
            **membership(protocol),
            # No jump: an offset outside of the log makes its partition stand still (consumer/partitions.py).
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "max.poll.interval.ms": consumer.max_poll_interval_ms,
            "fetch.min.bytes": consumer.fetch_min_bytes,
            "fetch.wait.max.ms": consumer.fetch_wait_max_ms,
            "fetch.message.max.bytes": consumer.fetch_message_max_bytes,
            # Reads some batches ahead, not the 100,000 events and 64 MB of librdkafka's defaults.
            "queued.min.messages": 10_000,
            "queued.max.messages.kbytes": 16_384,
            "fetch.queue.backoff.ms": _FETCH_AGAIN_MS,
            # A broker that hangs is noticed within the poll interval.
            "socket.timeout.ms": 10_000,
            "error_cb": on_error,
            "on_commit": on_commit,
        }
    )


def membership(protocol: GroupProtocol) -> dict[str, Any]:
    """librdkafka's properties of a member that speaks this protocol."""
    name = settings.CONFIG.kafka.group_instance_id
    named = {"group.instance.id": name} if name else {}
    if protocol is GroupProtocol.CONSUMER:
        return {"group.protocol": "consumer", **named}  # sessions and heartbeats are the broker's
    session_ms = settings.CONFIG.consumer.session_timeout_ms
    return {
        "partition.assignment.strategy": (
            "range,roundrobin" if protocol is GroupProtocol.EAGER else "cooperative-sticky"
        ),
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": max(session_ms // 15, 100),
        **named,
    }


def abandon(consumer: Consumer) -> None:
    """Let go of a lost client without closing it: both close() and its destruction could wait for ever.

    So a thread of its own drops the last reference, some time after the caller has dropped the others. The
    client's partitions go to other consumers after the session timeout.
    """
    held = [consumer]
    letting_go = threading.Timer(LET_GO_AFTER_S, held.clear)
    letting_go.daemon = True
    letting_go.start()


def close(consumer: Consumer) -> None:
    """Leave the group, or let go of a client that does not close within _CLOSED_AFTER_S.

    librdkafka waits for the answer to each commit, and may lose a commit that the coordinator could not take
    for a moment. The process ends all the same; its partitions go to others after the session timeout.
    """
    closing = threading.Thread(target=consumer.close, name="kafka-close", daemon=True)
    closing.start()
    closing.join(_CLOSED_AFTER_S)
    if closing.is_alive():
        log.warning("the Kafka client did not close within %.0f s", _CLOSED_AFTER_S)


def place(message: Message) -> Place:
    """A received message's place."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise RuntimeError("a received message has a partition and an offset")
    return Place(partition, offset)


def next_offsets(messages: Iterable[Message]) -> dict[int, NextOffset]:
    """The offsets to go on with once these messages are done, by partition: after the last of them."""
    following: dict[int, NextOffset] = {}
    for partition, offset in map(place, messages):
        if offset >= following.get(partition, 0):
            following[partition] = NextOffset(offset + 1)
    return following


def first_offsets(messages: Iterable[Message]) -> dict[int, NextOffset]:
    """The offsets to go on with while none of these messages is done, by partition: the first of them."""
    return {at.partition: NextOffset(at.offset) for at in sorted(map(place, messages), reverse=True)}


def headers_of(message: Message) -> dict[str, bytes]:
    """The message's headers; none if a name is not UTF-8: such headers are not ours."""
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):  # the client's C code turns the second into the first
        return {}
    return {
        name: value if isinstance(value, bytes) else str(value or "").encode()
        for name, value in dict(headers or ()).items()
    }


def topic_partitions(topic: str, offsets: Mapping[int, NextOffset]) -> list[TopicPartition]:
    """These offsets as librdkafka takes them, sorted by partition."""
    return [TopicPartition(topic, partition, offset) for partition, offset in sorted(offsets.items())]


def timestamp_ms(message: Message) -> int | None:
    """When the message was written, as the producer or the broker says; None if neither does."""
    kind, value = message.timestamp()
    return int(value) if kind else None
