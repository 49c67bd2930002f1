"""Synchronous offset commits that end.

librdkafka's own has no timeout. It was seen never to return after the broker had lost the leadership
of the offsets topic for a moment: the process then kept its partitions, decided nothing, and heard no
signal. So it is waited for from outside, and a client that does not answer is given up with its process.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 30.0  #: three times what a request to the broker may take


class Committing:
    """Commits in a thread of its own; the loop waits for it, and not for ever."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._wanted: SimpleQueue[Sequence[TopicPartition]] = SimpleQueue()
        self._done = threading.Event()
        self._error: KafkaException | None = None
        threading.Thread(target=self._run, name="committing", daemon=True).start()

    def commit(self, offsets: Sequence[TopicPartition]) -> None:
        """Returns when the broker has them. Raises KafkaException; ends the process after 30 s of silence."""
        self._done.clear()
        self._wanted.put(offsets)
        if not self._done.wait(_PATIENCE_S):
            give_up()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            offsets = self._wanted.get()
            try:
                self._consumer.commit(offsets=list(offsets), asynchronous=False)
                self._error = None
            except KafkaException as error:
                self._error = error
            self._done.set()


def give_up() -> None:
    """End the process at once: closing a client that does not answer would wait for it again.

    Whoever started it starts another, which begins at the last offset that was committed.
    """
    log.critical("the Kafka client has not answered a commit for %.0f s: the process ends", _PATIENCE_S)
    logging.shutdown()
    os._exit(1)
