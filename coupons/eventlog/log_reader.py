"""Reads the event log to its true end, with a consumer that does not join the group.

Every function blocks its thread: never in the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.place import Place, Stretch
from runtime.operator_language import marked

_READ_AT_ONCE: Final = 2000  #: messages of one call: enough that the calls cost little beside the messages
#: No message for so long past the reported ends: there are no more. Shorter, and events of the embedded
#: broker are missed; longer, and every reading from it takes so much longer.
_QUIET_S: Final = 0.3
_FIRST_S: Final = 1.0  #: as _QUIET_S, for the first message: connecting and the first fetch take longer
#: Producers may write on and on: past the reported ends, a reading ends after so long.
_PAST_THE_END_S: Final = 1.0


class LogUnavailable(RuntimeError):
    """The broker did not answer in time; nothing is known about the events."""


def deadline(timeout_s: float) -> Callable[[], float]:
    """A function that returns how many seconds are left, and raises LogUnavailable when none are."""
    deadline = time.monotonic() + timeout_s

    def left() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise LogUnavailable(marked("the events could not be read in time"))
        return seconds

    return left


@contextmanager
def reader() -> Iterator[Consumer]:
    """A consumer that does not join the group; Kafka's errors become LogUnavailable."""
    consumer = Consumer(
        kafka_client.common()
        | {
            "group.id": settings.CONFIG.kafka.group_id,  # to ask for the group's offsets
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",  # an offset outside of the log must not lead to another one
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        yield consumer
    except KafkaException as error:
        raise LogUnavailable(str(error)) from error
    finally:
        consumer.close()


def partitions(reader: Consumer, timeout_s: float) -> list[int]:
    topic = settings.CONFIG.kafka.topic
    metadata = reader.list_topics(topic, timeout=timeout_s).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return sorted(metadata.partitions)


def messages(
    reader: Consumer, stretches: Mapping[int, Stretch], left: Callable[[], float]
) -> Iterator[Message]:
    """All messages of these stretches, by partition, and on to the log's true end.

    A broker marks the end of a partition by an EOF. The embedded broker does not, and reports ends that are
    too low: there, silence past the reported ends is the end.
    """
    topic = settings.CONFIG.kafka.topic
    reader.assign([TopicPartition(topic, partition, start) for partition, (start, _) in stretches.items()])
    unfinished = set(stretches)
    behind = {partition for partition, (start, end) in stretches.items() if start < end}
    going_on_until = float("inf")
    quiet_s = _FIRST_S
    while unfinished and time.monotonic() < going_on_until:
        # Waits for the first message only: consume() would wait for a full batch.
        first = reader.poll(left() if behind else min(quiet_s, left()))
        if first is None:
            if behind:
                raise LogUnavailable(marked("the events could not be read in time"))
            return
        for message in (first, *reader.consume(_READ_AT_ONCE, timeout=0)):
            if _is_beyond(message, behind):
                unfinished.discard(message.partition() or 0)
                continue
            at = place(message)
            if message.error() is not None:  # an EOF; one before the reported end came too early
                if at.offset >= stretches[at.partition].end:
                    unfinished.discard(at.partition)
                    behind.discard(at.partition)
                continue
            quiet_s = _QUIET_S
            yield message
            if at.following >= stretches[at.partition].end:
                behind.discard(at.partition)
        if not behind:
            going_on_until = min(going_on_until, time.monotonic() + _PAST_THE_END_S)


def _is_beyond(message: Message, behind: Collection[int]) -> bool:
    """Whether we asked beyond the partition's end, as after a broker lost it: there is nothing to read."""
    error = message.error()
    is_outside = error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET
    return is_outside and message.partition() not in behind


def place(message: Message) -> Place:
    """The message's place. Raises KafkaException if it is an error other than the partition's end."""
    if (error := message.error()) is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise KafkaException(KafkaError(KafkaError._BAD_MSG))
    return Place(partition, offset)
