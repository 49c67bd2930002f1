"""The log, driven from outside with plain clients: topics, events, offsets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from coupons import kafka_client

_TIMEOUT_S: Final = 20.0


def create_topics(topic: str) -> None:
    client = AdminClient(kafka_client.common())
    wanted = [NewTopic(topic, 3, 1), NewTopic(f"{topic}.DLT", 1, 1, config={"max.message.bytes": "2097152"})]
    for created in client.create_topics(wanted, operation_timeout=_TIMEOUT_S).values():
        created.result(_TIMEOUT_S)


def write(topic: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
    """Key and value, in order; returns when the broker has them all."""
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(kafka_client.producer_config() | {"message.timeout.ms": 30_000})
    for number, (key, value) in enumerate(records):
        producer.produce(topic, value=value, key=key, on_delivery=report)
        if number % 1000 == 0:
            producer.poll(0)
    if producer.flush(40) or failed:
        raise RuntimeError(f"the suite's own events were not written: {failed[:1]}")


def read(topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of everything there is now."""
    records: list[tuple[bytes | None, bytes | None]] = []
    with _client(group_id="faults-reader") as client:
        ends = _ends(client, topic)
        client.assign([TopicPartition(topic, partition, 0) for partition in ends])
        deadline = time.monotonic() + 60
        while len(records) < sum(ends.values()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(records)} of {sum(ends.values())} events read from {topic}")
            for message in client.consume(2000, timeout=0.5):
                if message.error() is None:
                    records.append((_bytes(message.key()), _bytes(message.value())))
    return records


def undecided(topic: str, group_id: str) -> int:
    """How many events the group has not committed."""
    with _client(group_id=group_id) as client:
        ends = _ends(client, topic)
        committed = client.committed(
            [TopicPartition(topic, partition) for partition in ends], timeout=_TIMEOUT_S
        )
        return sum(ends[each.partition] - max(0, each.offset) for each in committed)


def wait_decided(topic: str, group_id: str, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while undecided(topic, group_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def reset_offsets(topic: str, group_id: str) -> None:
    """Everything is delivered again. The group must be empty."""
    with _client(group_id=group_id) as client:
        offsets: Sequence[TopicPartition] = [TopicPartition(topic, p, 0) for p in _ends(client, topic)]
        client.commit(offsets=list(offsets), asynchronous=False)


def _ends(client: Consumer, topic: str) -> dict[int, int]:
    partitions = client.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
    return {
        partition: client.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)[1]
        for partition in partitions
    }


@contextmanager
def _client(*, group_id: str) -> Iterator[Consumer]:
    client = Consumer(
        kafka_client.common()
        | {"group.id": group_id, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    try:
        yield client
    finally:
        client.close()


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
