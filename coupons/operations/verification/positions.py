"""The group's position in each partition: within the log, and of this very topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.backlog import LogUnavailable
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset
from coupons.models import LogPosition
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.places import ReadOn
from runtime.operator_language import say

#: For each question to the broker: an operator waits, and a slow broker is not away.
_LOG_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """``topic_id``: "" where the broker has none. Offsets by partition: ``first``, and ``end`` as reported.

    The embedded broker may report an end that is too low.
    """

    topic_id: str
    first: Mapping[int, FirstOffset]
    end: Mapping[int, EndOffset]


def look_at_topic() -> Topic:
    """The topic as it is now. Raises LogUnavailable."""
    name = settings.CONFIG.kafka.topic
    reader = Consumer(kafka_client.common() | {"group.id": settings.CONFIG.kafka.group_id})
    try:
        metadata = reader.list_topics(name, timeout=_LOG_TIMEOUT_S).topics[name]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        ends = {
            partition: reader.get_watermark_offsets(TopicPartition(name, partition), timeout=_LOG_TIMEOUT_S)
            for partition in sorted(metadata.partitions)
        }
        topic_id = kafka_client.topic_id(timeout_s=_LOG_TIMEOUT_S)
    except KafkaException as error:
        raise LogUnavailable(str(error)) from error
    finally:
        reader.close()
    return Topic(
        topic_id=topic_id,
        first={partition: FirstOffset(low) for partition, (low, _) in ends.items()},
        end={partition: EndOffset(high) for partition, (_, high) in ends.items()},
    )


def rows() -> dict[int, LogPosition]:
    """This group's rows, by partition."""
    kafka = settings.CONFIG.kafka
    found = LogPosition.objects.filter(group_id=kafka.group_id, topic=kafka.topic)
    return {row.partition: row for row in found}


def check(read_to: Mapping[int, NextOffset], read_on: ReadOn) -> Iterator[Finding]:
    """Wrong positions. ``read_to``: the next offset to read, by partition. Raises LogUnavailable.

    The rows are read before the log's ends, so that a position that moves meanwhile is not beyond an end.
    """
    positions, topic = rows(), look_at_topic()
    ends = {
        partition: EndOffset(max(following, topic.end.get(partition, 0)))
        for partition, following in read_to.items()
    }
    if any(row.next_offset > ends.get(partition, 0) for partition, row in positions.items()):
        for place, _ in read_on(read_to):  # the end that a broker reports may be too low
            ends[place.partition] = EndOffset(max(ends[place.partition], place.following))
    for partition, row in sorted(positions.items()):
        wrong = _wrong(row, topic, ends.get(partition))
        if wrong is not None:
            yield Finding(
                check=Check.POSITION_IN_LOG,
                message=say("partition {partition}: {wrong}", partition=partition, wrong=wrong),
            )


def _wrong(row: LogPosition, topic: Topic, end: EndOffset | None) -> str | None:
    if topic.topic_id and row.topic_id and row.topic_id != topic.topic_id:
        return say(
            "the position counts in the topic {topic_id}, and this is {topic_now}: it was "
            "made anew, and no consumer has begun with it",
            topic_id=row.topic_id,
            topic_now=topic.topic_id,
        )
    if end is None:
        return say(
            "the position is {next_offset}, and the topic has no such partition", next_offset=row.next_offset
        )
    if row.lost_end is not None:
        return say(
            "the position is {next_offset}, and the log ended at {lost_end} when a consumer"
            " looked: the broker lost its end, and deciding stands still",
            next_offset=row.next_offset,
            lost_end=row.lost_end,
        )
    if row.next_offset > end:
        return say(
            "the position is {next_offset}, beyond the log's end, which is {end}",
            next_offset=row.next_offset,
            end=end,
        )
    first = topic.first.get(row.partition, 0)
    if row.next_offset < first:
        return say(
            "the position is {next_offset}, and the log begins at {first}: what was between"
            " is deleted, and was not decided by this group",
            next_offset=row.next_offset,
            first=first,
        )
    return None
