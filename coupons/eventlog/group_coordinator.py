"""What the brokers say of the consumer groups that they coordinate."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from coupons.eventlog import kafka_client

_PROTOCOLS: Final = "group.coordinator.rebalance.protocols"
_SESSION: Final = "group.consumer.session.timeout.ms"
_GONE: Final = frozenset({ConsumerGroupState.DEAD, ConsumerGroupState.EMPTY})


def session_timeout_ms(*, timeout_s: float) -> int | None:
    """When brokers miss a member that speaks KIP-848; no client can set it.

    None if they have no such members, do not let us ask (DESCRIBE_CONFIGS on the cluster), or are away.
    Blocks its thread for up to twice ``timeout_s`` and a second.
    """
    client = kafka_client.admin()
    try:
        broker = next(iter(client.list_topics(timeout=timeout_s).brokers))
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        [asked] = client.describe_configs([resource], request_timeout=timeout_s).values()
        found = asked.result(timeout_s + 1)
    except (FutureTimeout, KafkaException, StopIteration):
        return None
    if _PROTOCOLS not in found or "consumer" not in str(found[_PROTOCOLS].value).split(","):
        return None
    return int(found[_SESSION].value) if _SESSION in found else None


def has_member(group_id: str, member_id: str, *, timeout_s: float) -> bool:
    """Whether the group counts this member, which may have no partition. Raises KafkaException.

    Blocks its thread for up to ``timeout_s`` and a second.
    """
    client = kafka_client.admin()
    [asked] = client.describe_consumer_groups([group_id], request_timeout=timeout_s).values()
    try:
        group = asked.result(timeout_s + 1)
    except FutureTimeout:
        return False
    return group.state not in _GONE and any(each.member_id == member_id for each in group.members)
