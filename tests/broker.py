"""Writes to and reads from the tests' broker with plain clients, as another application would."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from django.conf import settings

from coupons.eventlog import kafka_client, log_reader
from coupons.eventlog.place import Place
from dev.processes import wait_until


def write(
    topic: str,
    *values: bytes | None,
    key: bytes | None = None,
    partition: int = -1,
    headers: Sequence[tuple[str, bytes]] = (),
    together: bool = False,
) -> list[Place]:
    """Write these values, in order; returns their places once the broker has them.

    ``together``: in one record batch, as a busy producer does; else each in its own.
    """
    places: list[Place] = []

    def report(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        places.append(Place(message.partition() or 0, message.offset() or 0))

    producer = Producer(
        {
            "bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 100 if together else 0,
        }
    )
    for value in values:
        producer.produce(
            topic, value=value, key=key, partition=partition, headers=list(headers), on_delivery=report
        )
        if not together:
            producer.flush(10)
    producer.flush(10)
    assert len(places) == len(values), "the broker did not acknowledge"
    return places


def read(topic: str, *, count: int, within_s: float = 10) -> list[Message]:
    """The first ``count`` messages of a topic, in log order per partition."""
    messages: list[Message] = []
    with log_reader.reader() as reader:
        partitions = reader.list_topics(topic, timeout=within_s).topics[topic].partitions
        reader.assign([TopicPartition(topic, partition, 0) for partition in partitions])

        def are_read() -> bool:
            found = reader.consume(count - len(messages), timeout=0.2)
            messages.extend(each for each in found if each.error() is None)
            return len(messages) >= count

        assert wait_until(are_read, within_s=within_s, every_s=0), f"{len(messages)} of {count} in {topic}"
    return sorted(messages, key=log_reader.place)


def alter_topic(topic: str, settings_of_topic: dict[str, str]) -> None:
    """Change a topic's settings, as kafka-configs.sh does."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings_of_topic.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    client = AdminClient(kafka_client.common())
    [done] = client.incremental_alter_configs([resource]).values()
    done.result(10)
