"""A commit made while partitions are taken away, on a real broker: it arrives before the next owner asks."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, TopicPartition
from django.conf import settings

from consumer.committing import Committing
from consumer.kafka import make_consumer
from tests.system import eventually


class Member:
    """A member of the group that, as the loop may, hears of rebalances inside consume()."""

    def __init__(self) -> None:
        kafka = settings.CONFIG.kafka
        self.committing = Committing(kafka.topic)
        self.owned: set[int] = set()
        self.revoked: set[int] = set()
        self.consumer = make_consumer(
            group_id=kafka.group_id, on_error=lambda error: None, on_commit=self.committing.answered
        )
        self.consumer.subscribe([kafka.topic], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.owned = {each.partition for each in partitions}
        self.committing.own(self.owned)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.committing.send(consumer, is_last=True)
        self.revoked = {each.partition for each in partitions}
        self.owned = set()
        self.committing.own(self.owned)

    def has_partitions(self) -> bool:
        self.consumer.consume(10, timeout=0.1)
        return bool(self.owned)


@pytest.mark.usefixtures("topic")
def test_what_is_committed_as_partitions_go_is_there_when_they_have_come() -> None:
    members = [Member()]
    try:
        eventually(lambda: members[0].has_partitions(), within_s=30)
        decided = {0: 0, 1: 0, 2: 0}
        assert members[0].owned == decided.keys()
        members[0].committing.decided(decided)

        members.append(Member())
        first, second = members
        eventually(lambda: first.has_partitions() & second.has_partitions(), within_s=30)

        assert first.revoked == decided.keys()
        topic = settings.CONFIG.kafka.topic
        committed = second.consumer.committed([TopicPartition(topic, each) for each in range(3)], timeout=10)
        assert {each.partition: each.offset for each in committed} == decided
    finally:
        for member in members:
            member.consumer.close()
