"""A backlog of events, written by a plain producer before any consumer is there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaError, Message, Producer
from uuid_utils.compat import uuid7

from coupons.eventlog import kafka_client
from coupons.eventlog.events import CouponIssueEvent, encode, partition_key
from dev.bench import topics

Report = Callable[[KafkaError | None, Message], None]
_SEED = 5  # the same order in every run
_WARM_UP_REQUESTS = 10_000
_PRODUCER = {
    "acks": "all",
    "partitioner": "murmur2_random",
    "message.timeout.ms": 60_000,
    "linger.ms": 20,
}


def events(coupon_ids: Sequence[int], users: Sequence[int]) -> list[CouponIssueEvent]:
    """One event per user, on one coupon after the other; users come in no order, as in life."""
    order = list(users)
    random.Random(_SEED).shuffle(order)
    now_ms = time.time_ns() // 1_000_000
    return [
        CouponIssueEvent(
            request_id=uuid7(),
            user_id=user,
            coupon_id=coupon_ids[number % len(coupon_ids)],
            timestamp_ms=now_ms,
        )
        for number, user in enumerate(order)
    ]


def write(topic: str, backlog: Sequence[CouponIssueEvent], changes: Mapping[str, int] | None = None) -> None:
    """Returns when the broker has them all; raises RuntimeError if it has not."""
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(_PRODUCER | kafka_client.common() | dict(changes or {}))
    for event in backlog:
        _produce(producer, topic, event, report)
    if producer.flush(60) or failed:
        raise RuntimeError(f"the backlog was not written: {failed[:1]}")


def warm_up() -> None:
    """A broker that has just started runs its code interpreted: thousands of requests get it compiled."""
    topic = "bench-warm-up"
    topics.create(topic)
    one_by_one = {"linger.ms": 0, "batch.num.messages": 1}
    write(topic, events([1], range(1, _WARM_UP_REQUESTS + 1)), one_by_one)
    topics.delete(topic)


def _produce(producer: Producer, topic: str, event: CouponIssueEvent, report: Report) -> None:
    while True:
        try:
            producer.produce(
                topic, value=encode(event), key=partition_key(event.coupon_id), on_delivery=report
            )
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.1)  # its queue is full: let it send
