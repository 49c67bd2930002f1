"""How many accepted events the consumer has not decided yet: the broker's ends, the database's positions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from dev.embedded.readiness import SILENT

TIMEOUT_S = 5.0
SILENCE_S = 0.5  #: nothing read for so long: the end of the log
READS = 10  #: a bound, should somebody still produce


class Backlog:
    """The topic and how far its group is, seen from outside the group.

    Raises KafkaException when the broker does not answer in time.
    """

    def __init__(self, *, bootstrap_servers: str, topic: str, group_id: str, database: Path) -> None:
        self._topic = topic
        self._group_id = group_id
        self._database = database
        self._client = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": group_id,  # assigning by hand does not join it
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
            },
            logger=SILENT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ends(self) -> dict[int, int]:
        """The next offset of each partition. Call it when nobody produces any more.

        Tansu's high watermark leaves out all but the first event of the last batch, so the log is
        read on from there until nothing more comes.
        """
        metadata = self._client.list_topics(self._topic, timeout=TIMEOUT_S).topics[self._topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        ends: dict[int, int] = {}
        for partition in metadata.partitions:
            _, ends[partition] = self._client.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=TIMEOUT_S
            )
        self._client.assign([TopicPartition(self._topic, number, end) for number, end in ends.items()])
        for _ in range(READS):
            messages = self._client.consume(num_messages=10_000, timeout=SILENCE_S)
            if not messages:
                break
            for message in messages:
                partition, offset = message.partition(), message.offset()
                if (error := message.error()) is not None or partition is None or offset is None:
                    raise KafkaException(error)
                ends[partition] = max(ends[partition], offset + 1)
        self._client.unassign()
        return ends

    def left(self, *, ends: Mapping[int, int]) -> int:
        """Events before ``ends`` that the group has not decided."""
        with closing(sqlite3.connect(self._database, timeout=TIMEOUT_S)) as connection:
            positions = connection.execute(
                "SELECT partition, next_offset FROM coupon_log_position WHERE group_id = ? AND topic = ?",
                (self._group_id, self._topic),
            ).fetchall()
        return undecided(ends=ends, decided=dict(positions))


def undecided(*, ends: Mapping[int, int], decided: Mapping[int, int]) -> int:
    """Pure: sum of what is left. A partition that no consumer was given has no position."""
    return sum(max(0, end - decided.get(partition, 0)) for partition, end in ends.items())
