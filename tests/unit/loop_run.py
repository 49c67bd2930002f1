"""The consumer's loop on a Kafka consumer that is a list and positions that are a dict."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from django.conf import settings
from django.db import OperationalError

from consumer.loop import ConsumerLoop
from consumer.partitions import AssignedPartitions
from coupons.eventlog import kafka_client, positions
from coupons.eventlog.place import EndOffset
from coupons.eventlog.positions import Position, PositionMoved
from runtime.config.kafka import GroupProtocol
from tests.messages import ReceivedMessage
from tests.unit.fake_kafka import FakeConsumer, Step

DEADLOCK = OperationalError(1213, "Deadlock found")


class Rows:
    """The table of positions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: dict[int, Position] = {}
        self.is_away = False
        self.refusals = 0  # of writes to come
        self.topic_id = "one"
        monkeypatch.setattr(positions, "stored", self.stored)
        monkeypatch.setattr(positions, "take_over", self.take_over)
        monkeypatch.setattr(positions, "halt", self.halt)
        monkeypatch.setattr(positions, "forget_former", lambda topic_id, partitions: {})
        monkeypatch.setattr(kafka_client, "is_compacted", lambda timeout_s: False)
        monkeypatch.setattr(kafka_client, "topic_id", lambda timeout_s: self.topic_id)

    def stored(self) -> dict[int, Position]:
        if self.is_away:
            raise DEADLOCK
        return dict(self.at)

    def take_over(self, found: Any, begin: dict[int, Position]) -> dict[int, Position]:
        if self.refusals:
            self.refusals -= 1
            raise DEADLOCK
        self.at |= begin
        return {partition: self.at[partition] for partition in begin}

    def halt(self, partition: int, *, seen: Position, end: int) -> None:
        assert self.at[partition] == seen
        self.at[partition] = replace(seen, lost_end=EndOffset(end))


def on_no_servers(monkeypatch: pytest.MonkeyPatch, *, protocol: GroupProtocol = GroupProtocol.EAGER) -> Rows:
    """Pauses are short; a connection that another test left open is none of the loop's."""
    consumer = replace(settings.CONFIG.consumer, retry_backoff_max_s=0.02)
    kafka = replace(settings.CONFIG.kafka, group_protocol=protocol)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer, kafka=kafka))
    monkeypatch.setattr("consumer.loop.close_old_connections", lambda: None)
    monkeypatch.setattr("consumer.loop.connection.close", lambda: None)
    return Rows(monkeypatch)


class Run:
    """One run of the loop over ``incoming``. ``failures`` are raised by the first calls of process."""

    def __init__(
        self,
        *incoming: Step,
        failures: Sequence[Exception] = (),
        batch_size: int = 10,
        before_process: Callable[[Run], None] = lambda run: None,
        meanwhile: Callable[[Run], None] = lambda run: None,
        assigned: Sequence[int] = (0, 1),
    ) -> None:
        self.stop = threading.Event()
        self.failures = deque(failures)
        self.before_process = before_process
        self.meanwhile = meanwhile  # what happens while a batch is being decided and the next one is there
        self.read_ahead: list[list[str]] = []  # what was there of the next batch, for each one
        self.decided: list[str] = []
        self.told_after: list[int] = []  # how many were decided when Redis was to hear of them
        assign: Step = lambda consumer: consumer.rebalance("on_assign", *assigned)  # noqa: E731
        self.consumer = FakeConsumer([assign, *incoming], stop=self.stop.set)
        self.clients = deque([self.consumer])  # the last one is made again and again
        self.assigned: AssignedPartitions | None = None  # as process was given them last
        self.loop = ConsumerLoop(
            make_consumer=self.make_consumer,
            processor=self,
            batch_size=batch_size,
            stop=self.stop,
        )

    def make_consumer(self, **callbacks: Any) -> Any:
        client = self.clients.popleft() if len(self.clients) > 1 else self.clients[0]
        return client.made(**callbacks)

    def process(
        self,
        messages: Sequence[Any],
        assigned: AssignedPartitions,
        next_batch: Callable[[], Sequence[Any]],
    ) -> None:
        """As the real one: what is decided and the positions are of one transaction."""
        self.assigned = assigned
        self.before_process(self)
        advances = assigned.advances(messages)
        self.read_ahead.append(list(map(repr, next_batch())))
        self.meanwhile(self)
        if self.failures:
            self.journal.append(f"failed {list(messages)}")
            raise self.failures.popleft()
        rows = positions.stored()
        if moved := [each.partition for each in advances if rows.get(each.partition) != each.seen]:
            raise PositionMoved(moved)
        positions.take_over({}, {each.partition: each.reached for each in advances})
        assigned.advanced(advances)
        self.journal.append(f"process {list(messages)}")
        self.decided += map(repr, messages)

    def tell(self) -> None:
        self.told_after.append(len(self.decided))

    @property
    def journal(self) -> list[str]:
        return self.consumer.journal

    def told(self, *kinds: str) -> list[str]:
        """The journal's entries of these kinds."""
        return self.consumer.told(*kinds)

    def to_end(self) -> Run:
        self.loop.run()
        return self


def messages(partition: int, *offsets: int) -> list[ReceivedMessage]:
    return [ReceivedMessage(partition, offset) for offset in offsets]


def offsets(rows: Rows) -> dict[int, int]:
    return {partition: at.next_offset for partition, at in rows.at.items()}


def kafka_error(code: int = KafkaError.REBALANCE_IN_PROGRESS, *, fatal: bool = False) -> KafkaError:
    return KafkaError(code, "for the test", fatal)
