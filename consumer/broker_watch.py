"""Watches whether the consumer's client still finds a broker, and fetches what the broker has.

A broker that has just come back may name no brokers at all. librdkafka then forgets all brokers and may never
ask again (its issue 5301). librdkafka may also lose a commit that the coordinator could not take for a
moment, and then fetches nothing after the next rebalance. Either way the client stays so until it is made
anew. That costs nothing, because the database knows the positions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.kafka import ClientLost

#: While nothing comes. More often, and an idle group keeps the broker busy; less often, and a client that is
#: lost is noticed later.
EVERY_S: Final = 3.0
#: The loop stands still meanwhile. Longer, and it polls too late; shorter, and a slow broker counts as
#: silent.
_ANSWER_S: Final = 1.0
#: A client is lost after so long without a broker or without fetching, or after the session timeout if that
#: is longer. Shorter, and a broker's restart or a rebalance costs a client; longer, and accepted claims wait.
PATIENCE_S: Final = 12.0


class BrokerWatch:
    """Asks the broker through the consumer's own client, every few seconds while nothing comes.

    For the loop's thread alone, which polls.
    """

    def __init__(self, topic: str, *, session_timeout_s: float) -> None:
        self._topic = topic
        self._patience_s = max(PATIENCE_S, session_timeout_s)
        self._asked_at = time.monotonic()
        self._silent_since: float | None = None
        self._missing_since: float | None = None

    def ask(self, consumer: Consumer, positions: Sequence[TopicPartition]) -> bool | None:
        """Whether the log has something beyond these positions that does not come; None if it was not asked.

        Raises ClientLost when no broker has answered, or nothing was fetched although the log has something,
        for PATIENCE_S or the session timeout, whichever is longer.
        """
        now = time.monotonic()
        if now - self._asked_at < EVERY_S:
            return None
        self._asked_at = now
        try:
            consumer.list_topics(self._topic, timeout=_ANSWER_S)
            is_missing = any(_is_behind(consumer, position) for position in positions)
        except KafkaException as error:
            self._silent_since = self._silent_since or now
            self._lose_after(self._silent_since, f"no broker has answered: {error}")
            return None
        self._silent_since = None
        self._missing_since = (self._missing_since or now) if is_missing else None
        if self._missing_since is not None:
            self._lose_after(self._missing_since, "the log has undecided events, and none has come")
        return is_missing

    def answered(self) -> None:
        """Note a message, which is an answer too: a broker that is slow to list its topics is not lost."""
        self._silent_since = self._missing_since = None

    def _lose_after(self, since: float, why: str) -> None:
        waited_s = time.monotonic() - since
        if waited_s >= self._patience_s:
            raise ClientLost(f"for {waited_s:.0f} s {why}")


def _is_behind(consumer: Consumer, position: TopicPartition) -> bool:
    _, end = consumer.get_watermark_offsets(position, timeout=_ANSWER_S)
    return bool(end > position.offset)
