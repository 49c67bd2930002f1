"""Whether the consumer's client still finds a broker, and gives what that has.

A broker that has just come back may name no brokers at all. librdkafka then drops all it knew and may
never ask again (its issue 5301). It may also lose a commit that the coordinator could not take for a moment,
and then fetches nothing after the next rebalance. Either way it stays so until it is made anew, which costs
nothing: the database knows where to go on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.kafka import ClientLost

EVERY_S: Final = 3.0  #: at most; asking costs the broker next to nothing
_ANSWER_S: Final = 1.0
PATIENCE_S: Final = 12.0  #: or the session timeout, where that is longer


class BrokerWatch:
    """Asks the broker through the consumer's own client, now and then while nothing comes."""

    def __init__(self, topic: str, *, session_timeout_s: float) -> None:
        self._topic = topic
        self._patience_s = max(PATIENCE_S, session_timeout_s)
        self._asked_at = time.monotonic()
        self._silent_since: float | None = None
        self._missing_since: float | None = None

    def ask(self, consumer: Consumer, positions: Sequence[TopicPartition]) -> bool | None:
        """Whether the log has something beyond these positions that does not come; None: not asked now.

        Raises ClientLost when nobody has answered for a while, or nothing came of what there is: the session
        timeout at least.
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
        """A message is an answer too: one broker that is slow to tell its topics is no reason to leave it."""
        self._silent_since = self._missing_since = None

    def _lose_after(self, since: float, why: str) -> None:
        waited_s = time.monotonic() - since
        if waited_s >= self._patience_s:
            raise ClientLost(f"for {waited_s:.0f} s {why}")


def _is_behind(consumer: Consumer, position: TopicPartition) -> bool:
    _, end = consumer.get_watermark_offsets(position, timeout=_ANSWER_S)
    return bool(end > position.offset)
