"""Whether the consumer's client still finds a broker.

A broker that has just come back may name no brokers at all. librdkafka then drops all it knew and may
never ask again (its issue 5301): it stays so until it is made anew. From here that looks like a broker
that is away, for which a new client costs nothing: by then the group has given our partitions away.
"""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Consumer, KafkaException

from consumer.kafka import ClientLost

_EVERY_S: Final = 3.0
_ANSWER_S: Final = 1.0
_PATIENCE_S: Final = 12.0


class Reach:
    """Asks the broker through the consumer's own client, now and then while nothing comes."""

    def __init__(self, topic: str, *, session_timeout_s: float) -> None:
        self._topic = topic
        self._patience_s = max(_PATIENCE_S, session_timeout_s)
        self._asked_at = time.monotonic()
        self._silent_since: float | None = None

    def ask(self, consumer: Consumer) -> None:
        """Raises ClientLost when nobody has answered for a while, the session timeout at least."""
        now = time.monotonic()
        if now - self._asked_at < _EVERY_S:
            return
        self._asked_at = now
        try:
            consumer.list_topics(self._topic, timeout=_ANSWER_S)
        except KafkaException as error:
            self._silent_since = self._silent_since or now
            if now - self._silent_since >= self._patience_s:
                raise ClientLost(
                    f"no broker has answered for {now - self._silent_since:.0f} s: {error}"
                ) from error
        else:
            self.answered()

    def answered(self) -> None:
        """A message is an answer too: one broker that is slow to tell its topics is no reason to leave it."""
        self._silent_since = None
