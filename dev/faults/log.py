"""The log, driven from outside with plain clients: topics, events, offsets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from django.db import connection

from coupons.eventlog import kafka_client
from coupons.models import LogPosition

PARTITIONS: Final = 3  #: of each case's topic
_TIMEOUT_S: Final = 20.0


def create_topics(topic: str) -> None:
    client = AdminClient(kafka_client.common())
    wanted = [
        NewTopic(topic, PARTITIONS, 1),
        NewTopic(f"{topic}.DLT", 1, 1, config={"max.message.bytes": "2097152"}),
    ]
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
    with _client(group_id="faults-reader") as client:
        return [(_bytes(each.key()), _bytes(each.value())) for each in _everything(client, topic)]


def _everything(client: Consumer, topic: str) -> list[Message]:
    bounds = _bounds(client, topic)
    client.assign([TopicPartition(topic, partition, first) for partition, (first, _) in bounds.items()])
    wanted = sum(end - first for first, end in bounds.values())
    found: list[Message] = []
    deadline = time.monotonic() + 60
    while len(found) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(found)} of {wanted} events read from {topic}")
        found += [each for each in client.consume(2000, timeout=0.5) if each.error() is None]
    return found


def entries(topic: str) -> list[tuple[int, int, bytes | None]]:
    """Partition, offset and value of everything there is now."""
    with _client(group_id="faults-reader") as client:
        return [
            (message.partition() or 0, message.offset() or 0, _bytes(message.value()))
            for message in _everything(client, topic)
        ]


def undecided(topic: str, group_id: str) -> int:
    """How many offsets lie between the group's positions in the database and the ends of the log."""
    connection.close()
    rows = LogPosition.objects.filter(group_id=group_id, topic=topic)
    decided = dict(rows.values_list("partition", "next_offset"))
    with _client(group_id=group_id) as client:
        ends = _ends(client, topic)
    return sum(max(0, end - decided.get(partition, 0)) for partition, end in ends.items())


def wait_decided(topic: str, group_id: str, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while undecided(topic, group_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def positions(topic: str, group_id: str) -> dict[int, int]:
    """The group's rows, by partition."""
    connection.close()
    rows = LogPosition.objects.filter(group_id=group_id, topic=topic)
    return dict(rows.values_list("partition", "next_offset"))


def delete_before(topic: str, offsets: Mapping[int, int]) -> None:
    """As kafka-delete-records.sh does, by partition."""
    admin = AdminClient(kafka_client.common())
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    for deleted in admin.delete_records(wanted, operation_timeout=_TIMEOUT_S).values():
        deleted.result(_TIMEOUT_S)


def delete_offsets(group_id: str) -> None:
    """The group with all that Kafka knows of it. It must be empty."""
    admin = AdminClient(kafka_client.common())
    admin.delete_consumer_groups([group_id], request_timeout=_TIMEOUT_S)[group_id].result(_TIMEOUT_S)


def make_anew(topic: str) -> None:
    """Delete the topic and make it again, empty."""
    admin = AdminClient(kafka_client.common())
    admin.delete_topics([topic], operation_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    deadline = time.monotonic() + _TIMEOUT_S
    while (error := _created(admin, topic)) is not None:  # the deletion goes on after it was answered
        if time.monotonic() > deadline:
            raise RuntimeError(f"{topic} was not made anew: {error}")
        time.sleep(0.2)


def _created(admin: AdminClient, topic: str) -> BaseException | None:
    made = admin.create_topics([NewTopic(topic, PARTITIONS, 1)], operation_timeout=_TIMEOUT_S)[topic]
    return made.exception(_TIMEOUT_S)


def move_offsets(topic: str, group_id: str, *, to_end: bool) -> None:
    """Kafka's own offsets, to the beginning or the end of each partition. The group must be empty."""
    with _client(group_id=group_id) as client:
        ends = _ends(client, topic)
        offsets = [TopicPartition(topic, p, end if to_end else 0) for p, end in ends.items()]
        client.commit(offsets=offsets, asynchronous=False)


def _ends(client: Consumer, topic: str) -> dict[int, int]:
    return {partition: end for partition, (_, end) in _bounds(client, topic).items()}


def _bounds(client: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    partitions = client.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
    return {
        partition: client.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
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
