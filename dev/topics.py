"""A topic of a case's own, and another producer's events in it. Needs Django's settings.

Where a topic and its group stand is read by what the product has (``coupons.eventlog``).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from django.conf import settings
from django.core.management import call_command

from coupons.eventlog import kafka_client

TIMEOUT_S: Final = 20.0
Record = tuple[bytes | None, bytes | None]  #: key and value


@contextmanager
def own_topic(name: str) -> Iterator[str]:
    """A new topic, with its dead letters and its group, for code in this process."""
    with in_settings(topic=name, dead_letter_topic=f"{name}.DLT", group_id=f"group-{name}"):
        create()
        yield name


@contextmanager
def in_settings(**kafka: str | int) -> Iterator[None]:
    """Another topic or group for code in this process."""
    before = settings.CONFIG
    changed = replace(before.kafka, **kafka)  # type: ignore[arg-type]
    settings.CONFIG = replace(before, kafka=changed)
    try:
        yield
    finally:
        settings.CONFIG = before


def create() -> None:
    """Those of the settings; one that exists stays as it is."""
    call_command("create_topics", stdout=io.StringIO())


def delete(*names: str) -> None:
    admin = AdminClient(kafka_client.common())
    for deleted in admin.delete_topics(list(names), operation_timeout=TIMEOUT_S).values():
        deleted.result(TIMEOUT_S)


def write(topic: str, records: Iterable[Record], changes: Mapping[str, Any] | None = None) -> None:
    """In order; returns when the broker has them all. ``changes`` to the producer's configuration."""
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(kafka_client.producer_config() | {"message.timeout.ms": 60_000} | dict(changes or {}))
    for key, value in records:
        while True:
            try:
                producer.produce(topic, value=value, key=key, on_delivery=report)
                producer.poll(0)
                break
            except BufferError:
                producer.poll(0.1)  # its queue is full: let it send
    if producer.flush(70) or failed:
        raise RuntimeError(f"the events were not written: {failed[:1]}")
