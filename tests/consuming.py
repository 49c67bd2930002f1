"""Consume the test's topic in this process, to its end, without waiting to join a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import Message
from django.conf import settings
from django.db import connections

from consumer.kafka import first_offsets, make_consumer, positions
from consumer.partitions import Standing
from coupons.eventlog import backlog, kafka_client
from coupons.eventlog import positions as rows
from coupons.eventlog.positions import Position
from tests import stack

#: Past the told ends, quiet is the end: the embedded broker leaves out all but the first event of the last
#: batch. What follows came in the same answer: when the first was polled, it is in the client's queue.
_QUIET_S: Final = {"embedded": 0.2, "services": 0.0, "given": 0.0}
_GATHER_S: Final = 0.2  #: so that what was written together is mostly decided together

Process = Callable[[Sequence[Message], Standing], None]


def consume_all(process: Process, *, batch_size: int = 100, within_s: float = 30) -> None:
    """Decide everything that is in the log and not decided, batch by batch, and copy the positions."""
    kafka = settings.CONFIG.kafka
    ends = {partition: at.end for partition, at in backlog.positions(timeout_s=10).items()}
    deadline = time.monotonic() + within_s
    standing = Standing(kafka.topic)
    consumer = make_consumer(
        group_id=kafka.group_id, on_error=lambda error: None, on_commit=lambda error, partitions: None
    )
    try:
        standing.own(ends)
        standing.find(consumer)
        consumer.assign(standing.assignment())
        missing = _before(ends, standing)
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
                process(batch, standing)
                at = standing.next_offsets()
                consumer.commit(offsets=positions(kafka.topic, at), asynchronous=False)
            missing = _before(ends, standing)
    finally:
        consumer.close()


def _before(ends: Mapping[int, int], standing: Standing) -> set[int]:
    return {partition for partition, at in standing.next_offsets().items() if at < ends[partition]}


def standing_before(messages: Sequence[Message]) -> Standing:
    """A consumer that stands before these messages, and so do the database's rows."""
    standing = Standing(settings.CONFIG.kafka.topic)
    first = first_offsets(messages)
    topic_id = kafka_client.topic_id(timeout_s=10)
    standing.own(first)
    for partition, offset in first.items():
        standing._at[partition] = Position(topic_id=topic_id, next_offset=offset)
        rows.move(partition, to=standing._at[partition])
    return standing


def in_a_thread(run: Callable[[], object]) -> Callable[[], None]:
    """What a thread of a test is to run: its database connection ends with it."""

    def running() -> None:
        try:
            run()
        finally:
            connections.close_all()

    return running
