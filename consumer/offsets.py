"""Kafka's committed offsets follow the database's positions, for tools and autoscalers.

Best effort: nothing of ours depends on these offsets, so nothing waits for the broker's answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.kafka import topic_partitions
from coupons.eventlog.place import NextOffset
from runtime import metrics

log = logging.getLogger(__name__)


class OffsetCopy:
    """For the loop's thread alone, which polls. One commit is under way at a time."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._copied: dict[int, NextOffset] = {}
        self._is_under_way = False

    def forget(self) -> None:
        """Forget which offsets were copied, because partitions came or went."""
        self._copied = {}

    def send(self, consumer: Consumer, offsets: Mapping[int, NextOffset], *, is_last: bool = False) -> None:
        """Commit offsets that are not committed yet, by partition. ``is_last``: even beside another one."""
        news = {each: offset for each, offset in offsets.items() if self._copied.get(each) != offset}
        if not news or (self._is_under_way and not is_last):
            return
        try:
            consumer.commit(offsets=topic_partitions(self._topic, news), asynchronous=True)
        except KafkaException as error:
            self._failed(error.args[0])
        else:
            self._copied |= news
            self._is_under_way = True

    def answered(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """librdkafka's on_commit, inside poll() and consume(), in the loop's thread: it must not wait."""
        self._is_under_way = False
        error = error or next((each.error for each in partitions if each.error), None)
        if error is not None:
            self._failed(error)

    def _failed(self, error: KafkaError) -> None:
        metrics.OFFSET_COMMIT_FAILURES.inc()
        log.info("Kafka's copy of the offsets is behind: %s", error)
        self._copied = {}
