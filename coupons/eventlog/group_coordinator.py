"""What the brokers say of the consumer groups that they coordinate."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]
from django.conf import settings

from coupons.eventlog import kafka_client

_PROTOCOLS: Final = "group.coordinator.rebalance.protocols"
_SESSION: Final = "group.consumer.session.timeout.ms"
#: Longer than a socket waits for an answer (socket.timeout.ms: 60 s). Shorter, and the process may end.
_ENDS_S: Final = 90.0
_GONE: Final = frozenset({ConsumerGroupState.DEAD, ConsumerGroupState.EMPTY})


def session_timeout_ms(*, timeout_s: float) -> int | None:
    """When brokers miss a member that speaks KIP-848; no client can set it.

    None if they have no such members, do not let us ask (DESCRIBE_CONFIGS on the cluster), or are away.
    Blocks its thread for up to twice ``timeout_s`` and a second.
    """
    client = kafka_client.admin()
    try:
        told = client.list_topics(timeout=timeout_s)
        # One that answers: while any other is dead, librdkafka connects to it without a pause.
        broker = told.orig_broker_id if told.orig_broker_id in told.brokers else next(iter(told.brokers))
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        [asked] = client.describe_configs([resource], request_timeout=timeout_s).values()
        found = asked.result(timeout_s + 1)
    except (FutureTimeout, KafkaException, StopIteration):
        return None
    if _PROTOCOLS not in found or "consumer" not in str(found[_PROTOCOLS].value).split(","):
        return None
    return int(found[_SESSION].value) if _SESSION in found else None


class MemberQuestion:
    """Whether the group counts a member, which may have no partition. For one thread.

    librdkafka ends the process where the answer to this request comes after the request's own time (its issue
    4605: an assertion in rd_kafka_enq_once_del_source_return, seen here when a broker was killed). So nothing
    is asked while no broker answers, the request's time is longer than any answer takes, and whoever asks
    does not wait for its end but asks again.
    """

    def __init__(self) -> None:
        self._asked: Future[Any] | None = None

    def is_counted(self, group_id: str, member_id: str, *, timeout_s: float) -> bool:
        """False where it is not known yet, too. Raises KafkaException.

        Blocks its thread for up to twice ``timeout_s``.
        """
        client = kafka_client.admin()
        if self._asked is None:
            client.list_topics(settings.CONFIG.kafka.topic, timeout=timeout_s)
            [self._asked] = client.describe_consumer_groups([group_id], request_timeout=_ENDS_S).values()
        try:
            group = self._asked.result(timeout_s)
        except FutureTimeout:
            return False
        except KafkaException:
            self._asked = None
            raise
        self._asked = None
        return group.state not in _GONE and any(each.member_id == member_id for each in group.members)
