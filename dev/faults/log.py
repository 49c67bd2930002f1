"""The log of the case, as an operator, a tool or another producer sees and changes it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from django.conf import settings
from django.core.management import CommandError
from django.db import connection

from coupons.eventlog import backlog, kafka_client, log_reader, log_state
from coupons.eventlog.backlog import Entry
from coupons.eventlog.log_reader import LogUnavailable
from dev import topics
from dev.processes import wait_until
from dev.topics import TIMEOUT_S

_PATIENCE_S: Final = 60.0
#: What Kafka makes again from the log itself. It would believe them otherwise.
_MADE_AGAIN: Final = ("*.index", "*.timeindex", "*.snapshot", "../recovery-point-offset-checkpoint")


def undecided() -> int:
    """How many offsets lie between the group's positions in the database and the ends of the log."""
    connection.close()
    return sum(each.undecided for each in log_state.look())


def wait_decided(*, within_s: float) -> bool:
    def is_decided() -> bool:
        with suppress(LogUnavailable):
            return undecided() == 0
        return False

    return wait_until(is_decided, within_s=within_s, every_s=0.3)


def positions() -> dict[int, int]:
    """The next offset to decide by partition, as the database has it."""
    connection.close()
    return {each.partition: each.next_offset or 0 for each in log_state.look()}


def entries() -> list[Entry]:
    """Everything there is now."""
    connection.close()
    return list(backlog.read_all(backlog.positions(timeout_s=TIMEOUT_S), patience_s=_PATIENCE_S))


def delete_before(partition: int, offset: int) -> None:
    """As kafka-delete-records.sh does."""
    admin = AdminClient(kafka_client.common())
    wanted = TopicPartition(settings.CONFIG.kafka.topic, partition, offset)
    for deleted in admin.delete_records([wanted], operation_timeout=TIMEOUT_S).values():
        deleted.result(TIMEOUT_S)


def cut_end(data: Path, *, partition: int, kept: float) -> None:
    """Take away all but this share of a partition, as a crash does to what was not flushed.

    ``data`` is the folder of a broker that does not run. A partition of one segment.
    """
    folder = data / f"{settings.CONFIG.kafka.topic}-{partition}"
    [segment] = folder.glob("*.log")
    os.truncate(segment, int(segment.stat().st_size * kept))  # mostly in the middle of a batch
    for pattern in _MADE_AGAIN:
        for path in folder.glob(pattern):
            path.unlink()


def delete_offsets() -> None:
    """The group with all that Kafka knows of it. It must be empty."""
    admin = AdminClient(kafka_client.common())
    group_id = settings.CONFIG.kafka.group_id
    admin.delete_consumer_groups([group_id], request_timeout=TIMEOUT_S)[group_id].result(TIMEOUT_S)


def make_anew() -> None:
    """Delete the topic and make it again, empty."""
    before = kafka_client.topic_id(timeout_s=TIMEOUT_S)
    topics.delete(settings.CONFIG.kafka.topic)

    def is_made() -> bool:
        with suppress(CommandError, KafkaException):  # the deletion goes on after it was answered
            topics.create()
            return kafka_client.topic_id(timeout_s=TIMEOUT_S) != before
        return False

    if not wait_until(is_made, within_s=TIMEOUT_S, every_s=0.2):
        raise RuntimeError("the topic was not made anew")


def move_offsets(*, to_end: bool) -> None:
    """Kafka's own offsets, to the beginning or the end of each partition. The group must be empty."""
    topic = settings.CONFIG.kafka.topic
    offsets = [TopicPartition(topic, each.partition, each.end if to_end else 0) for each in log_state.look()]
    with log_reader.reader() as client:
        client.commit(offsets=offsets, asynchronous=False)
