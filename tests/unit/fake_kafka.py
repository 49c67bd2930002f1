"""A Kafka consumer whose broker is a list: what comes next, and a journal of what was asked of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from tests.messages import ReceivedMessage

Step = ReceivedMessage | None | Callable[["FakeConsumer"], None]


class FakeConsumer:
    """Gives what is ``incoming``, one a poll: a message, None (nothing there), or something that happens.

    It stops the loop when there is nothing left and nothing is paused. Like librdkafka, it gives no
    message of a paused partition, but for those fetched before the pause (``fetched_before``), and
    serves rebalances from poll() alone.
    """

    def __init__(self, incoming: Iterable[Step], *, stop: Callable[[], None]) -> None:
        self.incoming = deque(incoming)
        self.journal: list[str] = []
        self.paused: set[int] = set()
        self.commit_errors: deque[KafkaException] = deque()
        self.fetched_before = 0
        self.closed = False
        self._stop = stop
        self._callbacks: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}

    # What a test makes happen

    def rebalance(self, what: str, *partitions: int) -> None:
        """``what``: on_assign, on_revoke or on_lost."""
        self.journal.append(f"{what} {list(partitions)}")
        if what != "on_assign":
            self.paused -= set(partitions)
        self._callbacks[what](self, [TopicPartition("t", partition) for partition in partitions])

    # What the loop calls

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self._callbacks = callbacks

    def poll(self, timeout: float) -> ReceivedMessage | None:
        if not self.incoming:
            if not self.paused:
                self._stop()
            return self._nothing()
        if isinstance(self.incoming[0], ReceivedMessage) and self.incoming[0].partition() in self.paused:
            if not self.fetched_before:
                return self._nothing()
            self.fetched_before -= 1
        step = self.incoming.popleft()
        if step is None or isinstance(step, ReceivedMessage):
            return step
        step(self)
        return None

    def _nothing(self) -> None:
        self.journal.append("nothing")
        time.sleep(0.001)

    def consume(self, count: int, timeout: float) -> list[ReceivedMessage]:
        messages: list[ReceivedMessage] = []
        while self.incoming and len(messages) < count and isinstance(self.incoming[0], ReceivedMessage):
            messages.append(self.incoming.popleft())  # type: ignore[arg-type]
        return messages

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        told = ", ".join(f"{each.partition}:{each.offset}" for each in offsets)
        if self.commit_errors:
            self.journal.append(f"commit failed {told}")
            raise self.commit_errors.popleft()
        self.journal.append(f"commit {told}")
        return offsets

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.journal.append(f"pause {[each.partition for each in partitions]}")
        self.paused |= {each.partition for each in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.journal.append(f"resume {[each.partition for each in partitions]}")
        self.paused -= {each.partition for each in partitions}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.journal.append(f"assign {[each.partition for each in partitions]}")

    def get_watermark_offsets(
        self, partition: TopicPartition, *, timeout: float, cached: bool
    ) -> tuple[int, int]:
        """Five more are fetched than decided, and seven more are there."""
        return 0, partition.offset + (5 if cached else 7)

    def close(self) -> None:
        self.closed = True
        self.journal.append("close")
