"""Consume the test's topic in this process, to its end, without waiting to join a group."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Message, TopicPartition
from django.conf import settings

from consumer.kafka import make_consumer, next_offsets, positions
from coupons import backlog
from tests import stack

#: Past the told ends, quiet is the end: the embedded broker tells them too low.
_QUIET_S: Final = {"embedded": 1.0, "services": 0.0, "given": 0.0}
_GATHER_S: Final = 0.2  #: so that what was written together is mostly decided together


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
        while True:
            first = consumer.poll(1 if missing else _QUIET_S[stack.KIND])
            if first is None and not missing:
                return
            assert time.monotonic() < deadline, f"not read to their ends: {missing}"
            if first is not None:
                batch = [first, *consumer.consume(batch_size - 1, timeout=_GATHER_S)]
                process(batch)
                done = next_offsets(batch)
                consumer.commit(offsets=positions(kafka.topic, done), asynchronous=False)
                missing -= {partition for partition, offset in done.items() if offset >= at[partition].end}
    finally:
        consumer.close()
