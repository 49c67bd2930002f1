"""Consume the test's topic in this process, to its end, without waiting to join a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Message, TopicPartition
from django.conf import settings

from consumer.kafka import make_consumer, next_offsets, positions
from coupons import backlog


def consume_all(
    process: Callable[[Sequence[Message]], None], *, batch_size: int = 100, within_s: float = 30
) -> None:
    """Decide everything that is in the log and not committed, batch by batch, and commit."""
    kafka = settings.CONFIG.kafka
    at = backlog.positions(timeout_s=10)
    missing = {partition for partition, each in at.items() if each.next_to_decide < each.end}
    deadline = time.monotonic() + within_s
    consumer = make_consumer(
        group_id=kafka.group_id, on_error=lambda error: None, on_commit=lambda error, partitions: None
    )
    try:
        consumer.assign([TopicPartition(kafka.topic, p, each.next_to_decide) for p, each in at.items()])
        # Past the told ends a second of quiet is the end: the embedded broker tells them too low.
        while (batch := consumer.consume(batch_size, timeout=1)) or missing:
            assert time.monotonic() < deadline, f"not read to their ends: {missing}"
            if batch:
                process(batch)
                done = next_offsets(batch)
                consumer.commit(offsets=positions(kafka.topic, done), asynchronous=False)
                missing -= {partition for partition, offset in done.items() if offset >= at[partition].end}
    finally:
        consumer.close()
