"""Log and positions compared, partition by partition, for the operator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from django.conf import settings

from coupons.eventlog import kafka_client, log_reader, positions
from coupons.eventlog.log_reader import LogUnavailable
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset
from coupons.eventlog.positions import Position

_TIMEOUT_S: Final = 10.0  #: for each question to the broker: an operator waits, and a slow broker is not away


class State(StrEnum):
    """Whether deciding can go on in a partition."""

    OK = "OK"
    NO_POSITION = "NO_POSITION"  # no consumer of this group ever had the partition
    TOPIC_MADE_ANEW = "TOPIC_MADE_ANEW"  # a consumer begins at its first offset
    BEHIND_THE_LOG = "BEHIND_THE_LOG"  # events were deleted before they were decided
    BEYOND_THE_LOG = "BEYOND_THE_LOG"  # the broker lost the log's end, as a consumer found out

    @property
    def is_a_loss(self) -> bool:
        return self in (State.BEHIND_THE_LOG, State.BEYOND_THE_LOG)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """Offsets of one partition. ``copy``: the group's committed offset in Kafka; None if there is none."""

    partition: int
    topic_id: str
    first: FirstOffset
    end: EndOffset
    next_offset: NextOffset | None
    copy: NextOffset | None
    lost_end: EndOffset | None
    state: State

    @property
    def undecided(self) -> int:
        """How many events are undecided at most: the markers of transactions count too."""
        return max(0, self.end - max(self.first, self.next_offset or 0))

    @property
    def after_the_loss(self) -> Position:
        """The position from which deciding goes on once the loss is accepted."""
        # A log that lost its end gives the lost offsets to new events: they are new requests.
        to = self.first if self.lost_end is None else max(self.first, self.lost_end)
        return Position(topic_id=self.topic_id, next_offset=NextOffset(to))


def look() -> list[PartitionState]:
    """Every partition of the topic. Raises LogUnavailable."""
    topic = settings.CONFIG.kafka.topic
    try:
        topic_id = kafka_client.topic_id(timeout_s=_TIMEOUT_S)
    except KafkaException as error:
        raise LogUnavailable(str(error)) from error
    rows = positions.stored()
    found = []
    with log_reader.reader() as reader:
        asked = [TopicPartition(topic, each) for each in log_reader.partitions(reader, _TIMEOUT_S)]
        for committed in reader.committed(asked, timeout=_TIMEOUT_S):
            first, end = reader.get_watermark_offsets(committed, timeout=_TIMEOUT_S)
            row = rows.get(committed.partition)
            found.append(
                PartitionState(
                    partition=committed.partition,
                    topic_id=topic_id,
                    first=FirstOffset(first),
                    end=EndOffset(end),
                    next_offset=row.next_offset if row else None,
                    copy=NextOffset(committed.offset) if committed.offset >= 0 else None,
                    lost_end=row.lost_end if row else None,
                    state=_state(row, topic_id=topic_id, first=first),
                )
            )
    return found


def _state(row: Position | None, *, topic_id: str, first: int) -> State:
    if row is None:
        return State.NO_POSITION
    if topic_id and row.topic_id and topic_id != row.topic_id:
        return State.TOPIC_MADE_ANEW
    if row.lost_end is not None:
        return State.BEYOND_THE_LOG
    return State.BEHIND_THE_LOG if row.next_offset < first else State.OK


def accept_loss(partition: PartitionState) -> None:
    """Go on behind the deleted events, or from where the log ended when it lost the rest."""
    positions.move(partition.partition, to=partition.after_the_loss)


def go_back(partition: PartitionState, *, to: NextOffset) -> None:
    """Have all events from this offset on decided again; a request that has an outcome keeps it."""
    positions.move(partition.partition, to=Position(topic_id=partition.topic_id, next_offset=to))
