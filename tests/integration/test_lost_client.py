"""The loop on a real broker that its first client never finds: a new client decides what is in the log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pytest
from confluent_kafka import Consumer, Message
from django.conf import settings
from django.db import transaction

from consumer import broker_watch, kafka
from consumer.loop import ConsumerLoop
from consumer.partitions import AssignedPartitions
from coupons.eventlog import positions
from coupons.eventlog.delivery import Record
from coupons.eventlog.producer import event_producer
from dev.processes import free_port
from tests.consuming import in_a_thread
from tests.system import eventually


@pytest.mark.django_db(transaction=True)
def test_a_client_that_finds_no_broker_is_replaced(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_watch, "EVERY_S", 0.1)
    monkeypatch.setattr(broker_watch, "PATIENCE_S", 1)
    monkeypatch.setattr(kafka, "LET_GO_AFTER_S", 0.1)
    there = settings.CONFIG
    nowhere = replace(there, kafka=replace(there.kafka, bootstrap_servers=f"127.0.0.1:{free_port()}"))
    ways = chain([nowhere], repeat(there))
    decided: list[bytes] = []

    def make_consumer(**callbacks: Any) -> Consumer:
        monkeypatch.setattr(settings, "CONFIG", next(ways))
        return kafka.make_consumer(group_id=there.kafka.group_id, **callbacks)

    class Deciding:
        def process(self, batch: Sequence[Message], assigned: AssignedPartitions, next_batch: object) -> None:
            advances = assigned.advances(batch)
            with transaction.atomic():
                positions.advance(advances)
            assigned.advanced(advances)
            decided.extend(value for each in batch if isinstance(value := each.value(), bytes))

        def tell(self) -> None:
            """Nobody is told."""

    event_producer().publish([Record(key=b"k", value=b"x")])
    stop = threading.Event()
    impatient = replace(there.consumer, session_timeout_ms=0)
    monkeypatch.setattr(settings, "CONFIG", replace(there, consumer=impatient))
    loop = ConsumerLoop(make_consumer=make_consumer, processor=Deciding(), batch_size=10, stop=stop)
    running = threading.Thread(target=in_a_thread(loop.run))
    running.start()
    try:
        eventually(lambda: decided == [b"x"], within_s=30)
    finally:
        stop.set()
        running.join(30)
    assert not running.is_alive()
