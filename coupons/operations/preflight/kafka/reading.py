"""What the brokers say of themselves and of our topics. In a preflight's thread."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    ResourceType,
    TopicMetadata,
)
from django.conf import settings
from django.db import Error as DatabaseLayerError

from coupons.eventlog import kafka_client, log_state
from coupons.eventlog.log_reader import LogUnavailable
from coupons.eventlog.log_state import PartitionState
from coupons.operations import connections
from coupons.operations.preflight.findings import Expected, Unanswered, red
from coupons.operations.preflight.kafka import broker_clocks, rights
from coupons.operations.preflight.kafka.facts import OFFSETS, KafkaFacts, Partition, Topic
from coupons.operations.preflight.kafka.rights import ASK_S
from runtime.actuator import Component
from runtime.config import Config
from runtime.operator_language import say

_CONNECT_S: Final = 2.0


def read(expected: Expected) -> KafkaFacts:
    config: Config = settings.CONFIG
    for problem in connections.kafka_problems():
        raise Unanswered(red(problem, say("what it names in KAFKA_CLIENT_CONFIG, KAFKA_SSL_CA or the like")))
    component = connections.broker()
    if not component.is_up:
        raise Unanswered(
            red(
                say("Kafka does not answer: {error}", error=component.details.get("error", "")),
                _mend_of(component, config),
            )
        )
    client = AdminClient(kafka_client.common())
    try:
        return _read(config, expected, component, client)
    except (KafkaException, FutureTimeout) as error:
        raise Unanswered(
            red(
                say("Kafka answered and went away: {error}", error=words(error)),
                say(
                    "see whether its brokers restart, and whether their advertised.listeners can be"
                    " reached from here"
                ),
            )
        ) from error


def _read(config: Config, expected: Expected, component: Component, client: AdminClient) -> KafkaFacts:
    metadata = client.list_topics(timeout=ASK_S)
    ours = [
        name
        for name in (config.kafka.topic, config.kafka.dead_letter_topic)
        if name in metadata.topics and not metadata.topics[name].error
    ]
    group = rights.of_group(client, config.kafka.group_id)
    return KafkaFacts(
        config=config,
        expected=expected,
        component=component,
        brokers=sorted(metadata.brokers),
        topics={topic.name: topic for topic in _topics(client, metadata, ours)},
        offsets=Topic(name=OFFSETS, partitions=_partitions(metadata.topics[OFFSETS]))
        if OFFSETS in metadata.topics
        else None,
        group_operations=group,
        # Without a right to the group its positions are asked for in vain, and for long.
        states=_states() if config.kafka.topic in ours and group != frozenset() else (),
        settings=_of_broker(client, min(metadata.brokers)),
        unreachable=[each for each in _addresses(config) if not _connects(each)],
        clocks=broker_clocks.read(client, sorted(metadata.brokers), may_write=expected.may_write),
    )


def _topics(client: AdminClient, metadata: ClusterMetadata, names: Sequence[str]) -> Iterator[Topic]:
    told = dict(_settings(client, names))
    operations = dict(rights.of_topics(client, names))
    for name in names:
        partitions = _partitions(metadata.topics[name])
        yield Topic(name=name, partitions=partitions, operations=operations.get(name), **told[name])


def _partitions(topic: TopicMetadata) -> tuple[Partition, ...]:
    return tuple(
        Partition(number=number, leader=each.leader, replicas=tuple(each.replicas), in_sync=tuple(each.isrs))
        for number, each in sorted(topic.partitions.items())
    )


def words(error: BaseException) -> str:
    cause = error.args[0] if error.args else error
    return (
        str(cause.str() or cause.name())
        if isinstance(cause, KafkaError)
        else str(error) or type(error).__name__
    )


def _settings(client: AdminClient, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        [asked] = client.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name)], request_timeout=ASK_S
        ).values()
        try:
            found = asked.result(ASK_S + 1)
        except KafkaException as error:
            yield name, {"unread": words(error)}
        else:
            yield name, {"settings": {key: str(entry.value) for key, entry in found.items()}}


def _of_broker(client: AdminClient, broker: int) -> dict[str, str]:
    """Needs DescribeConfigs on the cluster, which is not asked for: a broker's settings are nice to know."""
    resource = ConfigResource(ResourceType.BROKER, str(broker))
    [asked] = client.describe_configs([resource], request_timeout=ASK_S).values()
    try:
        return {key: str(entry.value) for key, entry in asked.result(ASK_S + 1).items()}
    except KafkaException:
        return {}


def _addresses(config: Config) -> list[str]:
    named = (each.strip().rpartition("://")[2] for each in config.kafka.bootstrap_servers.split(","))
    return [each if ":" in each else f"{each}:9092" for each in named if each]


def _connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError):
        return False
    return True


def _states() -> Sequence[PartitionState]:
    try:
        return log_state.look()
    except (LogUnavailable, DatabaseLayerError):  # other lines tell why
        return ()


def _mend_of(component: Component, config: Config) -> str:
    text = str(component.details.get("error", ""))
    if "certificate" in text:
        return say(
            "KAFKA_SSL_CA must have signed the brokers' certificates, which must be for the"
            " hosts connected to"
        )
    if "SASL" in text or "uthentication" in text:
        return say("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, and the mechanism that the broker takes")
    protocol = config.kafka.protocol
    return say(
        "start it, or name it right in KAFKA_BOOTSTRAP_SERVERS; is {protocol} what its "
        "listener speaks (KAFKA_SECURITY_PROTOCOL)?",
        protocol=protocol,
    )
