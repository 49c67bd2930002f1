"""The event log read from outside the group: how far it is decided, what is not, or all of it.

It is what Redis cannot be asked for after it was flushed: which accepted requests are under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.conf import settings

from coupons import kafka_client
from coupons.allocation import IssueRequest
from coupons.events import CouponIssueEvent, UndecodableEvent, decode

_READ_AT_ONCE: Final = 2000
_FAILURE_LASTS_S: Final = 2.0
_failed_at = float("-inf")
_QUIET_S: Final = 0.3  #: no message for so long past the told ends: there are no more
_FIRST_S: Final = 1.0  #: connecting and the first fetch may take longer than what follows
_PAST_THE_END_S: Final = 1.0  #: while others write on, reading ends at some time


class LogUnavailable(RuntimeError):
    """The broker did not answer in time; nothing can be said about the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Offsets of one partition: the first there is, the next to decide, the one after the last."""

    first: int
    next_to_decide: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """``requests`` in log order per partition; ``committed`` the next offset to decide, by partition."""

    requests: list[IssueRequest]
    committed: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message of the log; ``event`` is None where it is none."""

    partition: int
    offset: int
    event: CouponIssueEvent | None


def read(*, timeout_s: float, coupon_id: int | None = None) -> Backlog:
    """Every decodable event that the group has not decided, or those of one coupon. Raises LogUnavailable.

    At once, if another reading failed a moment ago: many may ask, and none should wait in a row.
    """
    global _failed_at
    if time.monotonic() - _failed_at < _FAILURE_LASTS_S:
        raise LogUnavailable("the log could not be read a moment ago")
    try:
        return _read(timeout_s, coupon_id)
    except LogUnavailable:
        _failed_at = time.monotonic()
        raise


def _read(timeout_s: float, coupon_id: int | None) -> Backlog:
    left = _deadline(timeout_s)
    with _reader() as reader:
        positions = _positions(reader, left)
        ranges = {partition: (at.next_to_decide, at.end) for partition, at in positions.items()}
        requests = [
            IssueRequest(event=entry.event, partition=entry.partition, offset=entry.offset)
            for entry in _entries(reader, ranges, left)
            if entry.event is not None  # it will be a dead letter: nobody holds a slot for it
            and coupon_id in (None, entry.event.coupon_id)
        ]
    return Backlog(requests=requests, committed={p: start for p, (start, _) in ranges.items()})


def forget_failure() -> None:
    """Try again at once."""
    global _failed_at
    _failed_at = float("-inf")


def positions(*, timeout_s: float) -> dict[int, Positions]:
    """Where each partition stands. Raises LogUnavailable."""
    with _reader() as reader:
        return _positions(reader, _deadline(timeout_s))


def read_all(at: Mapping[int, Positions], *, patience_s: float) -> Iterator[Entry]:
    """The log from its beginning to the given ends at least, in order per partition.

    Raises LogUnavailable after ``patience_s`` without a message.
    """
    ranges = {partition: (each.first, each.end) for partition, each in at.items()}
    with _reader() as reader:
        yield from _entries(reader, ranges, lambda: patience_s)


def _deadline(timeout_s: float) -> Callable[[], float]:
    """A function that tells how many seconds are left. It raises LogUnavailable when none are."""
    deadline = time.monotonic() + timeout_s

    def left() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise LogUnavailable("the events could not be read in time")
        return seconds

    return left


@contextmanager
def _reader() -> Iterator[Consumer]:
    """A consumer that does not join the group; Kafka's errors become LogUnavailable."""
    consumer = Consumer(
        kafka_client.common()
        | {
            "group.id": settings.CONFIG.kafka.group_id,  # to ask for its offsets
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        yield consumer
    except KafkaException as error:
        raise LogUnavailable(str(error)) from error
    finally:
        consumer.close()


def _positions(reader: Consumer, left: Callable[[], float]) -> dict[int, Positions]:
    topic = settings.CONFIG.kafka.topic
    metadata = reader.list_topics(topic, timeout=left()).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    partitions = [TopicPartition(topic, partition) for partition in metadata.partitions]
    positions = {}
    for committed in reader.committed(partitions, timeout=left()):
        low, high = reader.get_watermark_offsets(committed, timeout=left())
        # Negative: this group has committed nothing yet and will begin at the beginning.
        following = max(low, committed.offset) if committed.offset >= 0 else low
        positions[committed.partition] = Positions(
            first=low, next_to_decide=following, end=max(following, high)
        )
    return positions


def _entries(
    reader: Consumer, ranges: Mapping[int, tuple[int, int]], left: Callable[[], float]
) -> Iterator[Entry]:
    """Everything from the starts on, to the ends at least and to where the log truly ends.

    A broker tells the end of a partition by an EOF. The embedded one does not, and counts too few in
    its ends: there, quiet past the told ends is the end.
    """
    topic = settings.CONFIG.kafka.topic
    reader.assign([TopicPartition(topic, partition, start) for partition, (start, _) in ranges.items()])
    unfinished = set(ranges)
    behind = {partition for partition, (start, end) in ranges.items() if start < end}
    going_on_until = float("inf")
    quiet_s = _FIRST_S
    while unfinished and time.monotonic() < going_on_until:
        # Waits for the first alone: consume() would wait for a full batch.
        first = reader.poll(left() if behind else min(quiet_s, left()))
        if first is None:
            if behind:
                raise LogUnavailable("the events could not be read in time")
            return
        for message in (first, *reader.consume(_READ_AT_ONCE, timeout=0)):
            partition, offset = _place(message)
            if message.error() is not None:  # an EOF; one before the told end was too early
                if offset >= ranges[partition][1]:
                    unfinished.discard(partition)
                    behind.discard(partition)
                continue
            quiet_s = _QUIET_S
            yield Entry(partition=partition, offset=offset, event=_event(message))
            if offset + 1 >= ranges[partition][1]:
                behind.discard(partition)
        if not behind:
            going_on_until = min(going_on_until, time.monotonic() + _PAST_THE_END_S)


def _place(message: Message) -> tuple[int, int]:
    """Raises KafkaException if the message is an error other than the partition's end."""
    if (error := message.error()) is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise KafkaException(KafkaError(KafkaError._BAD_MSG))
    return partition, offset


def _event(message: Message) -> CouponIssueEvent | None:
    value = message.value()
    try:
        return decode(value.encode() if isinstance(value, str) else value)
    except UndecodableEvent:
        return None
