"""Consume the test's topic in this process, to its end, without waiting to join a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from confluent_kafka import Consumer, Message, TopicPartition
from django.conf import settings
from django.db import connections

from consumer.kafka import first_offsets, make_consumer, topic_partitions
from consumer.partitions import AssignedPartitions
from coupons.eventlog import backlog, kafka_client
from coupons.eventlog import positions as rows
from coupons.eventlog.positions import Position
from runtime.config.kafka import GroupProtocol
from tests import stack

#: Past the told ends, quiet is the end: the embedded broker leaves out all but the first event of the last
#: batch. What follows came in the same answer: when the first was polled, it is in the client's queue.
_QUIET_S: Final = {"embedded": 0.2, "services": 0.0, "given": 0.0}
_GATHER_S: Final = 0.2  #: so that what was written together is mostly decided together

Process = Callable[[Sequence[Message], AssignedPartitions], None]


def consume_all(process: Process, *, batch_size: int = 100, within_s: float = 30) -> None:
    """Decide everything that is in the log and not decided, batch by batch, and copy the positions."""
    kafka = settings.CONFIG.kafka
    ends = {partition: at.end for partition, at in backlog.positions(timeout_s=10).items()}
    deadline = time.monotonic() + within_s
    assigned = AssignedPartitions(kafka.topic)
    consumer = make_consumer(
        group_id=kafka.group_id,
        protocol=GroupProtocol.EAGER,
        on_error=lambda error: None,
        on_commit=lambda error, partitions: None,
    )
    try:
        assigned.own(ends)
        assigned.find(consumer)
        consumer.assign(assigned.assignment())
        missing = _before(ends, assigned)
        while True:
            first = consumer.poll(1 if missing else _QUIET_S[stack.KIND])
            if first is None and not missing:
                return
            assert time.monotonic() < deadline, f"not read to their ends: {missing}"
            received = [first] if first else []
            if first and first.error() is None:
                received += consumer.consume(batch_size - 1, timeout=_GATHER_S)
            batch = [each for each in received if each.error() is None]
            if batch:
                process(batch, assigned)
                at = assigned.next_offsets()
                consumer.commit(offsets=topic_partitions(kafka.topic, at), asynchronous=False)
            missing = _before(ends, assigned)
    finally:
        consumer.close()


def _before(ends: Mapping[int, int], assigned: AssignedPartitions) -> set[int]:
    return {partition for partition, at in assigned.next_offsets().items() if at < ends[partition]}


def standing_before(messages: Sequence[Message]) -> AssignedPartitions:
    """A consumer that stands before these messages, and so do the database's rows."""
    assigned = AssignedPartitions(settings.CONFIG.kafka.topic)
    first = first_offsets(messages)
    topic_id = kafka_client.topic_id(timeout_s=10)
    for partition, offset in first.items():
        rows.move(partition, to=Position(topic_id=topic_id, next_offset=offset))
    assigned.own(first)
    assigned.find(cast(Consumer, _WholeLog()))
    return assigned


class _WholeLog:
    """As much of a Kafka consumer as is asked for positions that have rows: of its log nothing is deleted."""

    def get_watermark_offsets(self, partition: TopicPartition, *, timeout: float) -> tuple[int, int]:
        return 0, 2**63 - 1


def in_a_thread(run: Callable[[], object]) -> Callable[[], None]:
    """What a thread of a test is to run: its database connection ends with it."""

    def running() -> None:
        try:
            run()
        finally:
            connections.close_all()

    return running
