"""A Kafka consumer whose broker is a list: what comes next, and a journal of what was asked of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from runtime.config.kafka import GroupProtocol
from tests.messages import ReceivedMessage

Step = ReceivedMessage | None | Callable[["FakeConsumer"], None]


class FakeConsumer:
    """Gives what is ``incoming``, one a poll: a message, None (nothing there), or something that happens.

    It stops the loop when there is nothing left and nothing is paused. Like librdkafka, it gives no
    message of a partition that is paused or not assigned, but for those fetched before the pause
    (``fetched_before``), and serves rebalances and the answers to commits from poll() alone.
    """

    def __init__(self, incoming: Iterable[Step], *, stop: Callable[[], None]) -> None:
        self.incoming = deque(incoming)
        self.journal: list[str] = []
        self.paused: set[int] = set()
        self.assigned: set[int] = set()
        self.commit_errors: deque[KafkaError] = deque()
        self.answers_commits = True
        self.finds_a_broker = True
        self.fetched_before = 0
        self.first = 0  # the log's first offset
        self.beyond = 0  # how much the broker has beyond a position, when asked
        self.copied: dict[int, int] = {}  # Kafka's committed offsets
        self.closed = False
        self.protocol = GroupProtocol.AUTO
        self._in_vain = 0
        self._stop = stop
        self._callbacks: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}
        self._on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] = lambda *answer: None
        self._answers: deque[tuple[KafkaError | None, list[TopicPartition]]] = deque()

    def told(self, *kinds: str) -> list[str]:
        """The journal's entries of these kinds."""
        return [entry for entry in self.journal if entry.startswith(kinds)]

    # What a test makes happen

    def rebalance(self, what: str, *partitions: int) -> None:
        """``what``: on_assign, on_revoke or on_lost."""
        self.journal.append(f"{what} {list(partitions)}")
        # A pause outlives it: librdkafka keeps it with the partition.
        self._callbacks[what](self, [TopicPartition("t", partition) for partition in partitions])

    # What the loop calls

    def made(self, *, protocol: GroupProtocol, on_error: Any, on_commit: Any) -> Any:
        """As ``make_consumer``."""
        self.protocol = protocol
        self._on_commit = on_commit
        return self

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self._callbacks = callbacks

    def poll(self, timeout: float) -> ReceivedMessage | None:
        while self._answers and self.answers_commits:
            self._on_commit(*self._answers.popleft())
        if not self.incoming:
            if not self.paused:
                self._stop()
            self._nothing()
            return None
        if isinstance(self.incoming[0], ReceivedMessage) and not self._is_given(self.incoming[0]):
            if not self.fetched_before:
                self._nothing()
                return None
            self.fetched_before -= 1
        self._in_vain = 0
        step = self.incoming.popleft()
        if step is None or isinstance(step, ReceivedMessage):
            return step
        step(self)
        return None

    def _is_read(self, partition: int) -> bool:
        return partition in self.assigned - self.paused

    def _is_given(self, message: ReceivedMessage) -> bool:
        return message.error() is not None or self._is_read(message.partition())

    def _nothing(self) -> None:
        self._in_vain += 1
        if self._in_vain > 300:  # what is left is of partitions that are not read
            self._stop()
        self.journal.append("nothing")
        time.sleep(0.001)

    def consume(self, count: int, timeout: float) -> list[ReceivedMessage]:
        messages: list[ReceivedMessage] = []
        while self.incoming and len(messages) < count:
            step = self.incoming[0]
            if not isinstance(step, ReceivedMessage) or not self._is_read(step.partition()):
                break
            messages.append(step)
            self.incoming.popleft()
        return messages

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        error = self.commit_errors.popleft() if self.commit_errors else None
        told = ", ".join(f"{each.partition}:{each.offset}" for each in offsets)
        self.journal.append(f"commit {'failed ' if error else ''}{told}")
        self._answers.append((error, offsets))

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.journal.append("ask")
        if not self.finds_a_broker:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None, 1: None, 2: None})})

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.journal.append(f"pause {[each.partition for each in partitions]}")
        self.paused |= {each.partition for each in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.journal.append(f"resume {[each.partition for each in partitions]}")
        self.paused -= {each.partition for each in partitions}

    def assign(self, partitions: list[TopicPartition]) -> None:
        told = ", ".join(f"{each.partition}:{each.offset}" for each in partitions)
        self.assigned = {each.partition for each in partitions}
        self.journal.append(f"assign {told}" if told else "assign nothing")

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """As librdkafka, refuses what is assigned already."""
        new = {each.partition for each in partitions}
        assert not new & self.assigned
        self.assigned |= new
        told = ", ".join(f"{each.partition}:{each.offset}" for each in partitions)
        self.journal.append(f"begin {told}" if told else "begin nothing")

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """As librdkafka, refuses what is not assigned."""
        gone = {each.partition for each in partitions}
        assert gone <= self.assigned
        self.assigned -= gone
        self.journal.append(f"end {sorted(gone)}")

    def memberid(self) -> str:
        return "this one"

    def committed(self, partitions: list[TopicPartition], *, timeout: float) -> list[TopicPartition]:
        return [
            TopicPartition(each.topic, each.partition, self.copied.get(each.partition, -1001))
            for each in partitions
        ]

    def get_watermark_offsets(
        self, partition: TopicPartition, *, timeout: float, cached: bool | None = None
    ) -> tuple[int, int]:
        """As the loop asks for the lag, five more are fetched than decided, and seven more are there."""
        beyond = {None: self.beyond, True: 5, False: 7}[cached]
        return self.first, max(0, partition.offset) + beyond

    def close(self) -> None:
        self.closed = True
        self.journal.append("close")
