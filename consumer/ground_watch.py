"""Whether the ground is still the one that the loop stands on: the database's positions, and the topic.

A busy loop would not notice that a database was restored, or that a topic was made anew or is compacted.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from confluent_kafka import KafkaException
from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection

from consumer.partitions import AssignedPartitions
from coupons.eventlog import kafka_client
from runtime import database_roles

log = logging.getLogger(__name__)

#: So often the loop asks whether the database's positions and the broker's topic are still the same. Shorter,
#: and a busy consumer pays for the questions; longer, and after a restored database or a new topic more
#: events are decided before those in front of them.
LOOK_EVERY_S: Final = 1.0
#: The loop stands still meanwhile. Shorter, and a slow broker leaves the question open; longer, and batches
#: wait.
_ANSWER_S: Final = 1.0
#: So often the loop asks whether the topic is compacted. Kafka's cleaner begins 15 s after the policy was
#: set, at the earliest: longer than that, and undecided events are deleted before the partitions stand still;
#: shorter, and a busy consumer pays for the question.
_ASK_POLICY_EVERY_S: Final = 5.0


class GroundWatch:
    """One for each client of the loop, and asked in the loop's thread."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._policy_asked_at = time.monotonic()  # finding the positions asks for the policy too

    def is_as_before(self, assigned: AssignedPartitions) -> bool:
        """Whether positions and topic are still the same; True if they cannot be asked."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return True
        self._looked_at = time.monotonic()
        close_old_connections()
        try:
            with database_roles.watched():
                is_as_before = assigned.look_again()
        except DatabaseLayerError as error:  # health shows it, and the next batch waits for the database
            log.info("the positions were not looked at: %s", error)
            connection.close()
            return True
        return is_as_before and self._is_topic_as_before(assigned)

    def _is_topic_as_before(self, assigned: AssignedPartitions) -> bool:
        """Whether the topic is still the one whose positions we have.

        A topic that was made anew is read from its beginning. A client that was frozen or busy meanwhile
        would go on at its old offset, and skip the events in front of it.
        """
        try:
            is_the_same = assigned.is_of(kafka_client.topic_id(timeout_s=_ANSWER_S))
            return is_the_same and not self._is_compacted(assigned)
        except KafkaException as error:
            log.debug("the topic was not looked at: %s", error)
            return True

    def _is_compacted(self, assigned: AssignedPartitions) -> bool:
        """Ask every _ASK_POLICY_EVERY_S whether the topic is compacted. Raises KafkaException."""
        if time.monotonic() - self._policy_asked_at < _ASK_POLICY_EVERY_S:
            return False
        self._policy_asked_at = time.monotonic()
        return assigned.is_compacted()
