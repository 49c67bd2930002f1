"""Undecided events, read from the log by a consumer outside the group, and those that are deferred.

They are the accepted requests that are under way, which a flushed Redis has forgotten. The database says how
far the log is decided (``coupons/eventlog/positions.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.conf import settings

from coupons.eventlog import deferred, kafka_client, log_reader
from coupons.eventlog.events import (
    CouponIssueEvent,
    IssueRequest,
    UndecodableEvent,
    decode,
    partition_key,
    partition_of,
)
from coupons.eventlog.log_reader import LogUnavailable as LogUnavailable
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset, Place, Stretch
from coupons.eventlog.positions import start, stored
from runtime.operator_language import marked

#: For all positions together, and for each next message of ``read``. Shorter, and a busy broker refuses
#: claims on cold coupons; longer, and a dead leader uses up the time of the claims that wait for their gate.
_ANSWERS_S: Final = 5.0
#: After a failure ``read`` fails at once for so long. Shorter, and claims wait for a silent broker one after
#: the other; longer, and cold gates stay cold after the broker is back.
_FAILURE_LASTS_S: Final = 2.0
_failed_at = float("-inf")
_failed_without: frozenset[int] = frozenset()
#: A broker's answers while a coordinator moves or a leader is elected: it is asked again while there is time.
_MOMENTARY: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError._WAIT_COORD,
)
_ASK_AGAIN_AFTER_S: Final = 0.1  #: an election takes longer; more often, and the broker is asked for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Offsets of one partition: the first in the log, the next to decide, the one after the last.

    ``next_to_decide`` below ``first``: events were deleted before they were decided. ``has_lost_end``: the
    log once ended below the position; events that stand there now are new, and undecided.
    """

    first: FirstOffset
    next_to_decide: NextOffset
    end: EndOffset
    has_lost_end: bool = False

    @property
    def stands_still(self) -> bool:
        """Whether nothing is decided here until an operator accepts the loss."""
        return self.has_lost_end or self.next_to_decide < self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The undecided events. ``requests`` in the order of each coupon; ``next_to_decide`` by partition.

    ``unread``: partitions that were left out; ``not_whole``: coupons whose deferred events were left out;
    ``partitions``: how many the topic has.
    """

    requests: list[IssueRequest]
    next_to_decide: dict[int, NextOffset]
    unread: frozenset[int] = frozenset()
    not_whole: frozenset[int] = frozenset()
    partitions: int = 1

    def covers(self, coupon_id: int) -> bool:
        """Whether all of the coupon's undecided events were read: its partition, and what is deferred."""
        if coupon_id in self.not_whole:
            return False
        return partition_of(partition_key(coupon_id), self.partitions) not in self.unread


Entry = tuple[Place, IssueRequest | None]  #: one message of the log; None if it is no event


def read(
    *,
    timeout_s: float,
    coupon_id: int | None = None,
    deferred_of: Collection[int] | None = None,
    without: Collection[int] = (),
    minds_failures: bool = True,
) -> Backlog:
    """Every decodable event that the group has not decided, or those of one coupon. Raises LogUnavailable.

    ``deferred_of``: the coupons whose deferred events are wanted, None: all. A paused coupon may have a
    million of them, so whoever wants other coupons says so. ``without``: partitions that are left out,
    because they are known to be dead.

    Raises it at once if another such reading failed a moment ago, so that callers do not wait one after the
    other. Where ``minds_failures`` is False it is tried all the same, and its own failure stops no other one.
    Blocks its thread for up to ``timeout_s``: never in the loop.
    """
    global _failed_at, _failed_without
    if not minds_failures:
        return _read(timeout_s, coupon_id, deferred_of, without)
    if _failed_without == frozenset(without) and time.monotonic() - _failed_at < _FAILURE_LASTS_S:
        raise LogUnavailable(marked("the log could not be read a moment ago"))
    try:
        return _read(timeout_s, coupon_id, deferred_of, without)
    except LogUnavailable:
        _failed_at, _failed_without = time.monotonic(), frozenset(without)
        raise


def _read(
    timeout_s: float,
    coupon_id: int | None,
    deferred_of: Collection[int] | None,
    without: Collection[int],
) -> Backlog:
    left = log_reader.deadline(timeout_s)
    with log_reader.reader() as reader:
        asking = log_reader.deadline(min(timeout_s, _ANSWERS_S))
        positions, unread = _positions(reader, asking, without)
        undecided = {
            partition: Stretch(NextOffset(max(at.first, at.next_to_decide)), at.end)
            for partition, at in positions.items()
        }
        requests = [
            request
            for _, request in _entries(reader, undecided, lambda: min(left(), _ANSWERS_S))
            if request is not None  # else a dead letter to be, which needs no slot
            and coupon_id in (None, request.event.coupon_id)
        ]
    # After the log: an event that is deferred meanwhile is in both, and not in neither.
    having = deferred.coupons()
    wanted = {each for each in having if coupon_id in (None, each)}
    if deferred_of is not None:
        wanted &= set(deferred_of)
    aside = deferred.requests(wanted)
    if aside:
        known = {request.event.request_id for request in aside}
        requests = [*aside, *(each for each in requests if each.event.request_id not in known)]
    return Backlog(
        requests=requests,
        not_whole=frozenset(having - wanted),
        next_to_decide={partition: at.next_to_decide for partition, at in positions.items()},
        unread=unread,
        partitions=len(positions) + len(unread),
    )


def forget_failure() -> None:
    """Let the next ``read`` try at once."""
    global _failed_at
    _failed_at = float("-inf")


def positions(*, timeout_s: float) -> dict[int, Positions]:
    """The positions of each partition. Raises LogUnavailable. Blocks its thread for up to ``timeout_s``."""
    with log_reader.reader() as reader:
        return _positions(reader, log_reader.deadline(timeout_s))[0]


def read_all(at: Mapping[int, Positions], *, patience_s: float) -> Iterator[Entry]:
    """The log from its beginning to the given ends at least, in order per partition.

    Raises LogUnavailable after ``patience_s`` without a message.
    """
    stretches = {partition: Stretch(NextOffset(each.first), each.end) for partition, each in at.items()}
    with log_reader.reader() as reader:
        yield from _entries(reader, stretches, lambda: patience_s)


def undecided_to(
    ends: Mapping[int, EndOffset], at: Mapping[int, Positions], *, timeout_s: float
) -> frozenset[int]:
    """The partitions that are not decided up to their offset in ``ends``. Raises LogUnavailable.

    Looks for an undecided message, because the position alone is not enough: a transaction's marker takes an
    offset that is never consumed, and the position may stay in front of it for ever.
    """
    left = log_reader.deadline(timeout_s)
    with log_reader.reader() as reader:
        return frozenset(
            partition
            for partition, end in sorted(ends.items())
            if partition not in at  # the topic was made anew, with fewer partitions
            or at[partition].stands_still
            or _has_message(reader, partition, Stretch(at[partition].next_to_decide, end), left)
        )


def _has_message(reader: Consumer, partition: int, stretch: Stretch, left: Callable[[], float]) -> bool:
    if stretch.start >= stretch.end:
        return False
    # One partition at a time: the first message of a long backlog is enough.
    places = map(log_reader.place, log_reader.messages(reader, {partition: stretch}, left))
    return any(place.offset < stretch.end for place in places)


def _positions(
    reader: Consumer, left: Callable[[], float], without: Collection[int] = ()
) -> tuple[dict[int, Positions], frozenset[int]]:
    """The positions of each partition, and the partitions that were left out."""
    while True:
        try:
            partitions = log_reader.partitions(reader, left())
            unread = frozenset(partitions).intersection(without)
            return _positions_now(reader, [each for each in partitions if each not in unread], left), unread
        except KafkaException as error:
            if error.args[0].code() not in _MOMENTARY:
                raise
            time.sleep(min(_ASK_AGAIN_AFTER_S, left()))


def _positions_now(
    reader: Consumer, partitions: Sequence[int], left: Callable[[], float]
) -> dict[int, Positions]:
    topic = settings.CONFIG.kafka.topic
    topic_id = kafka_client.topic_id(timeout_s=left())
    rows = stored()
    committed = _committed(reader, [each for each in partitions if each not in rows], left)
    positions = {}
    for partition in partitions:
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=left())
        first, kept = FirstOffset(low), committed.get(partition)
        at = start(rows.get(partition), topic_id=topic_id, committed=kept, first=first)
        positions[partition] = Positions(
            first=first,
            next_to_decide=at.undecided_from,
            end=EndOffset(max(at.undecided_from, high)),
            has_lost_end=at.lost_end is not None,
        )
    return positions


def _committed(reader: Consumer, partitions: list[int], left: Callable[[], float]) -> dict[int, NextOffset]:
    """The group's committed offsets in Kafka, by partition, where there are any."""
    if not partitions:
        return {}
    asked = [TopicPartition(settings.CONFIG.kafka.topic, partition) for partition in partitions]
    answers = reader.committed(asked, timeout=left())
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {answer.partition: NextOffset(answer.offset) for answer in answers if answer.offset >= 0}


def _entries(
    reader: Consumer, stretches: Mapping[int, Stretch], left: Callable[[], float]
) -> Iterator[Entry]:
    for message in log_reader.messages(reader, stretches, left):
        place, event = log_reader.place(message), _event(message)
        yield place, None if event is None else IssueRequest(event=event, place=place)


def _event(message: Message) -> CouponIssueEvent | None:
    value = message.value()
    try:
        return decode(value.encode() if isinstance(value, str) else value)
    except UndecodableEvent:
        return None
