"""Whether the consumer's client still finds a broker.

A broker that has just come back may name no brokers at all. librdkafka then drops all it knew and may
never ask again (its issue 5301): it stays so until it is made anew. From here that looks like a broker
that is away, for which a new client costs nothing.
"""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Consumer, KafkaException

from consumer.kafka import ClientLost

_EVERY_S: Final = 3.0
_ANSWER_S: Final = 1.0
_PATIENCE: Final = 4  #: times in a row


class Reach:
    """Asks the broker through the consumer's own client, now and then while nothing comes."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._asked_at = time.monotonic()
        self._unanswered = 0

    def ask(self, consumer: Consumer) -> None:
        """Raises ClientLost when nobody has answered for a while."""
        if time.monotonic() - self._asked_at < _EVERY_S:
            return
        try:
            consumer.list_topics(self._topic, timeout=_ANSWER_S)
        except KafkaException as error:
            self._unanswered += 1
            if self._unanswered == _PATIENCE:
                raise ClientLost(f"no broker has answered {_PATIENCE} times in a row: {error}") from error
        else:
            self._unanswered = 0
        self._asked_at = time.monotonic()
