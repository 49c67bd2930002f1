"""Offsets on their way to the broker: committed after the rows are durable, never waited for.

librdkafka sends a commit before what follows it, and joins again or closes only when it is answered: an
asynchronous one is as safe in on_revoke as a synchronous one, which has no timeout (200 s with a broker that
stood still so long). Nor can another thread make it: consume(), which serves on_revoke, keeps the calls of
other threads waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.kafka import ClientLost, positions
from couponsite import metrics

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 30.0


class Committing:
    """Decided offsets until the broker has them. For the thread that polls alone."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._decided: dict[int, int] = {}  # by partition, the next to decide; not sent, or sent in vain
        self._owned: set[int] = set()
        self._unanswered = 0
        self._asked_at = 0.0
        self._is_ignored = False

    def own(self, partitions: set[int]) -> None:
        """Only these are ours to commit; what was decided in others is forgotten."""
        self._owned = set(partitions)
        self._decided = {each: offset for each, offset in self._decided.items() if each in partitions}

    def decided(self, offsets: Mapping[int, int]) -> None:
        """By partition, the offset after the last whose rows are durable."""
        self._decided |= offsets

    def send(self, consumer: Consumer, *, is_last: bool = False) -> None:
        """Commit what is decided; nothing while an answer is due, unless there is no later (``is_last``).

        Raises ClientLost for an answer that will never come.
        """
        if self._unanswered and not is_last:
            self._ask_for_the_answer(consumer)
            return
        if not self._decided:
            return
        offsets, self._decided = self._decided, {}
        self._asked_at, self._is_ignored = time.monotonic(), False
        try:
            consumer.commit(offsets=positions(self._topic, offsets), asynchronous=True)
        except KafkaException as error:
            self._failed(error.args[0], offsets)
        else:
            self._unanswered += 1

    def answered(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """librdkafka's on_commit, served by poll and consume."""
        self._unanswered -= 1
        self._asked_at, self._is_ignored = time.monotonic(), False
        error = error or next((each.error for each in partitions if each.error), None)
        if error is not None:
            self._failed(error, {each.partition: each.offset for each in partitions})

    def _ask_for_the_answer(self, consumer: Consumer) -> None:
        """Tell a broker that is away, for which librdkafka repeats the commit, from a commit that got lost.

        librdkafka keeps a commit that the coordinator could not take for a moment until it finds a new
        coordinator, and never sends it where the old one is still right. It then fetches nothing after the
        next rebalance, and does not close. Twice, since it may just have come back.
        """
        if time.monotonic() - self._asked_at < _PATIENCE_S:
            return
        self._asked_at = time.monotonic()
        try:
            consumer.list_topics(self._topic, timeout=1)
        except KafkaException:
            self._is_ignored = False
            return
        if self._is_ignored:
            raise ClientLost("the broker answers, but an offset commit has not been answered")
        self._is_ignored = True

    def _failed(self, error: KafkaError, offsets: Mapping[int, int]) -> None:
        """Harmless: it is sent again, or the events are replayed, which changes nothing."""
        metrics.OFFSET_COMMIT_FAILURES.inc()
        log.warning("offsets not committed, the events may come again: %s", error)
        self._decided = {each: offsets[each] for each in offsets if each in self._owned} | self._decided
