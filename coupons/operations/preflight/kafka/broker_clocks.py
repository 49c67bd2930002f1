"""The brokers' clocks. No request of Kafka's asks for the time, so a record is stamped by each broker.

A topic with one partition on each broker, whose records the broker stamps (LogAppendTime), lives for a
moment. It is made only if we may delete it again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.operations.preflight.clocks import Reading
from runtime.operator_language import say

_ASK_S: Final = 5.0
_DELIVER_S: Final = 8.0  #: a new topic's leader is known to the producer after a second or so


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerClocks:
    """``readings``: by broker. ``unread``: why there are none."""

    readings: Mapping[int, Reading] = field(default_factory=dict)
    unread: str = ""


def read(client: AdminClient, brokers: Sequence[int], *, may_write: bool) -> BrokerClocks:
    """Raises nothing: a cluster may refuse such a topic, and be right."""
    if not may_write:
        return BrokerClocks(unread=say("--read-only: no topic is made"))
    name = f"{settings.CONFIG.kafka.topic}.preflight-{uuid.uuid4().hex[:12]}"
    try:
        if refusal := _refused_deletion(client, name):
            return BrokerClocks(unread=refusal)
        topic = NewTopic(
            name,
            num_partitions=len(brokers),
            replica_assignment=[[broker] for broker in brokers],
            config={"message.timestamp.type": "LogAppendTime", "min.insync.replicas": "1"},
        )
        client.create_topics([topic], operation_timeout=_ASK_S, request_timeout=_ASK_S)[name].result(
            _ASK_S + 1
        )
        try:
            return _stamped(name, brokers)
        finally:
            client.delete_topics([name], operation_timeout=_ASK_S)[name].result(_ASK_S + 1)
    except KafkaException as error:
        return BrokerClocks(unread=str(error.args[0].str()))
    except FutureTimeout:
        return BrokerClocks(unread=say("no answer in {seconds:.0f} s", seconds=_ASK_S))


def _refused_deletion(client: AdminClient, name: str) -> str:
    """Why the topic could not be deleted again; empty if it could. Rights are looked at before names."""
    try:
        client.delete_topics([name], operation_timeout=_ASK_S)[name].result(_ASK_S + 1)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            return say("a topic for it could not be deleted again: {error}", error=error.args[0].str())
    return ""


def _stamped(name: str, brokers: Sequence[int]) -> BrokerClocks:
    found: dict[int, Reading] = {}
    sent: dict[int, float] = {}

    def note(error: KafkaError | None, message: Message) -> None:
        """Called within poll, in this thread."""
        partition: Any = message.partition()
        kind, stamped_ms = message.timestamp()
        if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
            broker = brokers[partition]
            found[broker] = Reading(before=sent[broker], server=stamped_ms / 1000, after=time.time())

    producer = Producer(kafka_client.common() | {"acks": "all", "message.timeout.ms": int(_DELIVER_S * 1000)})
    for partition, broker in enumerate(brokers):
        sent[broker] = time.time()
        producer.produce(name, value=b"preflight", partition=partition, on_delivery=note)
    producer.flush(_DELIVER_S + 1)
    missing = [broker for broker in brokers if broker not in found]
    return BrokerClocks(
        readings=found,
        unread=say("broker {names} stamped nothing", names=", ".join(map(str, missing))) if missing else "",
    )
