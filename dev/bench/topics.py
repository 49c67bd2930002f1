"""A topic of each measurement's own, with as many partitions as ship."""

from __future__ import annotations

from typing import Final

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from django.conf import settings

from coupons.eventlog import kafka_client

_TIMEOUT_S: Final = 20.0


def create(topic: str) -> None:
    """And its dead letters' topic, as the command create_topics does."""
    kafka = settings.CONFIG.kafka
    wanted = [
        NewTopic(topic, kafka.partitions, kafka.replication_factor),
        NewTopic(f"{topic}.DLT", 1, kafka.replication_factor),
    ]
    client = AdminClient(kafka_client.common())
    for future in client.create_topics(wanted, operation_timeout=_TIMEOUT_S).values():
        future.result(_TIMEOUT_S)


def delete(topic: str) -> None:
    client = AdminClient(kafka_client.common())
    for future in client.delete_topics([topic, f"{topic}.DLT"], operation_timeout=_TIMEOUT_S).values():
        future.result(_TIMEOUT_S)
