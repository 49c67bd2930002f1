"""Whether brokers and partitions look alive: asked by a client of its own.

A producer's own questions wait behind its Produce requests, on a connection that may be stuck. And metadata
alone deceives: the last of three brokers, without its controller, still names the others as leaders and
in-sync replicas. So each broker that has a replica is asked for itself, if something is wrong: by a client
that knows no other. An admin client's question to one broker (DescribeConfigs, ListOffsets) would make
librdkafka 2.16 connect to a dead one without a pause, a core for each, for as long as the question lasts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import partial
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    ResourceType,
    TopicMetadata,
)

from coupons.eventlog import kafka_client

#: A broker that does not answer for so long is down. Shorter, and a slow broker is taken for a dead one;
#: longer, and claims wait for their publish timeout instead.
BROKER_TIMEOUT_S: Final = 1.5
_ASK_AGAIN_AFTER_S: Final = 0.1  #: shorter, and brokers are pressed; longer, and fewer of them are asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """``partitions``: whether leader and enough replicas of each are there. Empty: there is no such topic.

    ``whole``: those of which every replica that counts as in sync is there too. Elsewhere a leader may have
    records that nobody can read yet: they become visible when its replicas are back, or count no more.
    """

    brokers: tuple[int, ...]
    partitions: Mapping[int, bool]
    whole: frozenset[int] = frozenset()


class BrokerProbe:
    """Of one topic. Belongs to the thread that uses it; connects at the first look."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._client: AdminClient | None = None
        self._least_in_sync: int | None = None  #: None: not known

    def look(self, *, timeout_s: float, closely: bool) -> Look | None:
        """None if no broker answers. ``closely``: ask each broker, and the controller for
        min.insync.replicas: each takes BROKER_TIMEOUT_S more at most, but for a moment.
        """
        self._client = self._client or AdminClient(kafka_client.common())
        told = self._told(self._client, timeout_s)
        if told is None:
            return None
        topic = told.topics[self._topic]
        brokers = tuple(sorted(told.brokers))
        if topic.error is not None:
            return Look(brokers=brokers, partitions={})
        alive: Collection[int] = brokers
        if closely:
            alive = _alive(told, topic)
            if told.controller_id in alive:  # which it is that answers
                self._note_least(self._client)
        looks = self._partitions(topic, alive)
        whole = {number for number, each in topic.partitions.items() if set(each.isrs) <= set(alive)}
        return Look(
            brokers=brokers,
            partitions=looks,
            whole=frozenset(number for number in whole if looks[number]),
        )

    def _told(self, client: AdminClient, timeout_s: float) -> ClusterMetadata | None:
        """What any broker tells of the topic. If the one that was asked dies meanwhile, others are asked."""
        until = time.monotonic() + timeout_s
        while (left_s := until - time.monotonic()) > 0:
            try:
                return client.list_topics(self._topic, timeout=left_s)
            except KafkaException:
                time.sleep(min(_ASK_AGAIN_AFTER_S, max(0.0, until - time.monotonic())))
        return None

    def renew(self) -> None:
        """The next look is that of a new client: this one may have forgotten all brokers."""
        self._client = None

    def _partitions(self, topic: TopicMetadata, alive: Collection[int]) -> dict[int, bool]:
        return {
            number: each.leader in alive
            and len(set(each.isrs) & set(alive)) >= self._least(len(each.replicas))
            for number, each in topic.partitions.items()
        }

    def _least(self, replicas: int) -> int:
        """Where we may not ask, as ``create_topics`` sets it. Kafka asks for no more than there are."""
        least = max(1, replicas - 1) if self._least_in_sync is None else self._least_in_sync
        return min(least, replicas)

    def _note_least(self, client: AdminClient) -> None:
        """Ask for min.insync.replicas, which somebody may have changed."""
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        [asked] = client.describe_configs([resource], request_timeout=BROKER_TIMEOUT_S).values()
        try:
            told = asked.result(BROKER_TIMEOUT_S + 1).get("min.insync.replicas")
        except (KafkaException, FutureTimeout):
            return
        if told is not None and str(told.value).isdecimal():  # not every broker tells it
            self._least_in_sync = int(told.value)


def _alive(told: ClusterMetadata, topic: TopicMetadata) -> set[int]:
    """Of the controller and the brokers with replicas of the topic, those that answer."""
    wanted = {told.controller_id} | {broker for each in topic.partitions.values() for broker in each.replicas}
    asked = [broker for number, broker in told.brokers.items() if number in wanted]
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        answers = pool.map(partial(kafka_client.answers, timeout_s=BROKER_TIMEOUT_S), asked)
    return {int(broker.id) for broker, is_answer in zip(asked, answers, strict=True) if is_answer}
