"""This consumer's position in each of its partitions: the database's rows as it last saw or wrote them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from consumer.kafka import next_offsets, place
from coupons.eventlog import kafka_client, positions
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset, Place
from coupons.eventlog.positions import Advance, Position

log = logging.getLogger(__name__)

#: For each question to the broker. The loop stands still meanwhile: shorter, and a slow broker is asked again
#: and again; longer, and the consumer misses the poll interval.
_ANSWER_S: Final = 5.0
_COMPACTED: Final = (
    "partition {partition} stands still: the topic's cleanup.policy is compact, which deletes undecided "
    "requests. Set it to delete: kafka-configs.sh --alter --entity-type topics --entity-name {topic} "
    "--add-config cleanup.policy=delete"
)


class PlaceInTopic(NamedTuple):
    """The place of one message and never of another: a topic that was made anew has another id."""

    topic_id: str
    place: Place


class AssignedPartitions:
    """A partition is assigned to us, then its position is found, and only then it is decided.

    For the loop's thread alone, which polls. ``stuck``: why a partition stands still until an operator acts,
    by partition.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._owned: set[int] = set()
        self._at: dict[int, Position] = {}
        self._ends: dict[int, NextOffset] = {}  # how far a partition was read, beyond its last message
        self._look_again_at: set[int] = set()
        self.stuck: dict[int, str] = {}

    @property
    def resumed(self) -> None:
        """These are the log's events (``consumer/batch.py``)."""

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(self._owned)

    @property
    def is_found(self) -> bool:
        """Whether each of our partitions has a position, or is known to stand still."""
        return self._owned <= self._at.keys() | (self.stuck.keys() - self._look_again_at)

    def own(self, partitions: Collection[int]) -> None:
        self.lose(partitions)  # their positions were an earlier assignment's
        self._owned |= set(partitions)

    def lose(self, partitions: Collection[int]) -> None:
        self._owned -= set(partitions)
        self.forget(partitions)

    def forget(self, partitions: Collection[int]) -> None:
        """Forget these partitions' positions; ``find`` looks for them anew."""
        for partition in partitions:
            self._at.pop(partition, None)
            self._ends.pop(partition, None)
            self.stuck.pop(partition, None)

    def find(self, client: Consumer) -> frozenset[int]:
        """Ask the database and the log for missing positions. Raises DatabaseError, KafkaException.

        Returns the partitions that have new positions to go on from.
        """
        missing = frozenset(self._owned - self._at.keys())
        topic_id = kafka_client.topic_id(timeout_s=_ANSWER_S)
        rows = positions.stored()
        bounds = {
            each: client.get_watermark_offsets(TopicPartition(self._topic, each), timeout=_ANSWER_S)
            for each in sorted(missing)
        }
        committed = self._committed(client, [each for each in sorted(missing) if each not in rows])
        if kafka_client.is_compacted(timeout_s=_ANSWER_S):
            for partition in missing:
                self._get_stuck(partition, _COMPACTED.format(partition=partition, topic=self._topic))
            return frozenset()
        begin = {
            partition: positions.start(
                rows.get(partition),
                topic_id=topic_id,
                committed=committed.get(partition),
                first=FirstOffset(first),
            )
            for partition, (first, _) in bounds.items()
        }
        found = positions.take_over({each: rows.get(each) for each in missing}, begin)
        for partition, position in sorted(found.items()):
            if partition not in self.stuck:
                self._say(partition, rows.get(partition), position, was_copied=partition in committed)
            self._stand(partition, position, first=bounds[partition][0])
        if any(row.topic_id and row.topic_id != topic_id for row in rows.values()):
            self._forget_former(client, topic_id)
        self._look_again_at.clear()
        return missing & self._at.keys()

    def begins_anew(self) -> None:
        """Note that all partitions are read from their positions: how far they were read is over."""
        self._ends.clear()

    def _forget_former(self, client: Consumer, topic_id: str) -> None:
        """Delete the rows of partitions that a topic that was made anew does not have any more."""
        partitions = client.list_topics(self._topic, timeout=_ANSWER_S).topics[self._topic].partitions
        for partition, position in positions.forget_former(topic_id, partitions).items():
            log.error(
                "partition %s: the topic %s was made anew without it. It was decided up to offset %s, "
                "whatever it had beyond is lost",
                partition,
                self._topic,
                position.next_offset,
            )

    def _committed(self, client: Consumer, partitions: Sequence[int]) -> dict[int, NextOffset]:
        """The group's committed offsets in Kafka, for partitions that have no row yet."""
        if not partitions:
            return {}
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        answers = client.committed(asked, timeout=_ANSWER_S)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return {answer.partition: NextOffset(answer.offset) for answer in answers if answer.offset >= 0}

    def _say(self, partition: int, row: Position | None, position: Position, *, was_copied: bool) -> None:
        if row is None and was_copied:
            log.warning(
                "partition %s: the database has no position, so deciding begins at Kafka's committed "
                "offset, %s. If the database was restored from a dump without positions, have it decide "
                "again what it forgot: `manage.py log_position back`",
                partition,
                position.next_offset,
            )
        elif row is not None and row.topic_id and row.topic_id != position.topic_id:
            log.error(
                "partition %s: the topic %s was deleted and made anew. The old one (%s) was decided up to "
                "offset %s, whatever it had beyond is lost; the new one (%s) is decided from offset %s",
                partition,
                self._topic,
                row.topic_id,
                row.next_offset,
                position.topic_id,
                position.next_offset,
            )
        else:
            log.info("partition %s is decided from offset %s", partition, position.next_offset)

    def _stand(self, partition: int, position: Position, *, first: int) -> None:
        if position.lost_end is not None:
            self._get_stuck(
                partition,
                f"partition {partition} stands still: the log ended at offset {position.lost_end}, and was "
                f"decided up to offset {position.next_offset}: the broker has lost its end. See "
                "`manage.py log_position show`; `manage.py log_position accept-loss` goes on where it ended",
            )
        elif position.next_offset < first:
            self._get_stuck(
                partition,
                f"partition {partition} stands still: events from offset {position.next_offset} to "
                f"{first - 1} were deleted before they were decided. See `manage.py log_position show`; "
                "`manage.py log_position accept-loss` goes on behind them",
            )
        else:
            self.forget([partition])
            self._at[partition] = position

    def _get_stuck(self, partition: int, why: str) -> None:
        if self.stuck.get(partition) != why:
            log.error("%s", why)
        self._at.pop(partition, None)
        self.stuck[partition] = why

    def look_outside(self, partition: int, client: Consumer) -> None:
        """Forget a position at which the broker has nothing, and record a log that lost its end.

        A log that begins at or beyond our position has lost no decided event. The error was then about
        another position and came late, as in a topic that was made anew. Raises DatabaseError,
        KafkaException.
        """
        position = self._at.get(partition)
        if position is None:
            return
        bounds = client.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=_ANSWER_S)
        is_the_same = kafka_client.topic_id(timeout_s=_ANSWER_S) == position.topic_id
        if is_the_same and bounds[0] < position.next_offset:
            positions.halt(partition, seen=position, end=EndOffset(bounds[1]))
        self.forget([partition])

    def look_again(self) -> bool:
        """Whether the database's rows are still as we last saw them. Raises DatabaseError.

        If not, the database went back, or somebody moved a position. Has partitions that stand still looked
        at again.
        """
        rows = positions.stored()
        moved = [each for each, position in self._at.items() if rows.get(each) != position]
        self._look_again_at = set(self.stuck)
        for partition in moved:
            log.warning("partition %s: the position was moved, to %s", partition, rows.get(partition))
        return not moved

    def is_compacted(self) -> bool:
        """Whether the topic is compacted while we have positions in it. Raises KafkaException."""
        return bool(self._at) and kafka_client.is_compacted(timeout_s=_ANSWER_S)

    def is_of(self, topic_id: str) -> bool:
        """Whether all our positions count in this topic."""
        return not topic_id or all(position.topic_id == topic_id for position in self._at.values())

    def assignment(self) -> list[TopicPartition]:
        """The partitions to read, and the offsets to begin with."""
        return [TopicPartition(self._topic, each, at.next_offset) for each, at in sorted(self._at.items())]

    def is_next(self, message: Message) -> bool:
        """Whether this message is undecided, and its partition ours."""
        partition, offset = place(message)
        at = self._at.get(partition)
        return at is not None and offset >= at.next_offset

    def note_end(self, partition: int, offset: NextOffset) -> None:
        """Note that the partition was read to this offset: offsets below it without a message get none."""
        if partition in self._at:
            self._ends[partition] = offset

    @property
    def has_read_past(self) -> bool:
        """Whether markers of transactions stand between the last message and the end of a partition."""
        return any(offset > self._at[each].next_offset for each, offset in self._ends.items())

    def place_of(self, message: Message) -> PlaceInTopic:
        at = place(message)
        return PlaceInTopic(self._at[at.partition].topic_id, at)

    def advances(self, messages: Iterable[Message]) -> list[Advance]:
        """The steps that deciding these messages makes; without messages, those to the partitions' ends."""
        reached = next_offsets(messages) or {
            each: offset for each, offset in self._ends.items() if offset > self._at[each].next_offset
        }
        return [
            Advance(partition=each, seen=self._at[each], next_offset=offset)
            for each, offset in sorted(reached.items())
        ]

    def advanced(self, advances: Sequence[Advance]) -> None:
        """Note that these steps are committed."""
        for each in advances:
            self._at[each.partition] = each.reached

    def next_offsets(self) -> dict[int, NextOffset]:
        """The next offset to decide, by partition."""
        return {partition: position.next_offset for partition, position in self._at.items()}
