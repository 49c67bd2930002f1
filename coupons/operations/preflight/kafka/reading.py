"""What the brokers say of themselves and of our topics. In a preflight's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
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
from coupons.operations.preflight.kafka import broker_clocks
from coupons.operations.preflight.kafka.broker_clocks import BrokerClocks
from runtime.actuator import Component
from runtime.config import Config

ASK_S: Final = (
    5.0  #: for one question. Shorter, and a busy broker counts as silent; longer, and the operator waits
)
OFFSETS: Final = "__consumer_offsets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    number: int
    leader: int  #: below 0: none
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """``settings``: the broker's; ``unread``: why it does not tell. ``operations``: None: not told."""

    name: str
    partitions: Sequence[Partition]
    settings: Mapping[str, str] = field(default_factory=dict)
    unread: str = ""
    operations: frozenset[str] | None = None

    @property
    def replicas(self) -> int:
        return min((len(each.replicas) for each in self.partitions), default=0)

    def number(self, name: str, default: int) -> int:
        try:
            return int(self.settings[name])
        except (KeyError, ValueError):
            return default


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaFacts:
    """``topics``: those of ours that exist, by name. ``states``: of the log; empty if it cannot be read."""

    config: Config
    expected: Expected
    component: Component
    brokers: Sequence[int]
    topics: Mapping[str, Topic]
    offsets: Topic | None = None  #: __consumer_offsets; None: not made yet, or not ours to see
    group_operations: frozenset[str] | None = None
    states: Sequence[PartitionState] = ()
    clocks: BrokerClocks = field(default_factory=BrokerClocks)

    @property
    def events(self) -> Topic | None:
        return self.topics.get(self.config.kafka.topic)

    @property
    def dead_letters(self) -> Topic | None:
        return self.topics.get(self.config.kafka.dead_letter_topic)


def read(expected: Expected) -> KafkaFacts:
    config: Config = settings.CONFIG
    for problem in connections.kafka_problems():
        raise Unanswered(red(problem, "what it names in KAFKA_CLIENT_CONFIG, KAFKA_SSL_CA or the like"))
    component = connections.broker()
    if not component.is_up:
        raise Unanswered(
            red(f"Kafka does not answer: {component.details.get('error', '')}", _mend_of(component, config))
        )
    client = AdminClient(kafka_client.common())
    try:
        return _read(config, expected, component, client)
    except (KafkaException, FutureTimeout) as error:
        raise Unanswered(
            red(f"Kafka answered and went away: {words(error)}", "see whether its brokers restart")
        ) from error


def _read(config: Config, expected: Expected, component: Component, client: AdminClient) -> KafkaFacts:
    metadata = client.list_topics(timeout=ASK_S)
    ours = [
        name
        for name in (config.kafka.topic, config.kafka.dead_letter_topic)
        if name in metadata.topics and not metadata.topics[name].error
    ]
    told = dict(_settings(client, ours))
    operations = dict(_operations(client, ours))
    return KafkaFacts(
        config=config,
        expected=expected,
        component=component,
        brokers=sorted(metadata.brokers),
        topics={
            name: Topic(
                name=name,
                partitions=_partitions(metadata.topics[name]),
                operations=operations.get(name),
                **told[name],
            )
            for name in ours
        },
        offsets=Topic(name=OFFSETS, partitions=_partitions(metadata.topics[OFFSETS]))
        if OFFSETS in metadata.topics
        else None,
        group_operations=_of_group(client, config.kafka.group_id),
        states=_states() if config.kafka.topic in ours else (),
        clocks=broker_clocks.read(client, sorted(metadata.brokers), may_write=expected.may_write),
    )


def _partitions(topic: TopicMetadata) -> tuple[Partition, ...]:
    return tuple(
        Partition(number=number, leader=each.leader, replicas=tuple(each.replicas), in_sync=tuple(each.isrs))
        for number, each in sorted(topic.partitions.items())
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


def _operations(client: AdminClient, names: Sequence[str]) -> Iterator[tuple[str, frozenset[str] | None]]:
    if not names:
        return
    asked = client.describe_topics(
        TopicCollection([*names]), include_authorized_operations=True, request_timeout=ASK_S
    )
    for name, each in asked.items():
        yield name, _if_told(lambda each=each: _names(each.result(ASK_S + 1)))  # type: ignore[misc]


def _of_group(client: AdminClient, group_id: str) -> frozenset[str] | None:
    """None where it is not told: nobody has joined the group yet, or its coordinator is not there yet."""
    [asked] = client.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group_id)], request_timeout=ASK_S
    ).values()
    try:
        asked.result(ASK_S + 1)
    except KafkaException as error:
        is_refused = error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        return frozenset() if is_refused else None
    return _if_told(lambda: _of_described(client, group_id))


def _of_described(client: AdminClient, group_id: str) -> frozenset[str] | None:
    [asked] = client.describe_consumer_groups(
        [group_id], include_authorized_operations=True, request_timeout=ASK_S
    ).values()
    return _names(asked.result(ASK_S + 1))


def _if_told(ask: Callable[[], frozenset[str] | None]) -> frozenset[str] | None:
    """None where the broker cannot tell: it is too old, none of Apache's, or has just started."""
    try:
        return ask()
    except KafkaException as error:
        if error.args[0].code() in (
            KafkaError._UNSUPPORTED_FEATURE,
            KafkaError.UNSUPPORTED_VERSION,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.GROUP_ID_NOT_FOUND,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        ):
            return None
        raise


def _names(described: Any) -> frozenset[str] | None:
    operations = described.authorized_operations
    return None if operations is None else frozenset(each.name for each in operations)


def _states() -> Sequence[PartitionState]:
    try:
        return log_state.look()
    except (LogUnavailable, DatabaseLayerError):  # other lines tell why
        return ()


def words(error: BaseException) -> str:
    cause = error.args[0] if error.args else error
    return (
        str(cause.str() or cause.name())
        if isinstance(cause, KafkaError)
        else str(error) or type(error).__name__
    )


def _mend_of(component: Component, config: Config) -> str:
    text = str(component.details.get("error", ""))
    if "certificate" in text:
        return (
            "KAFKA_SSL_CA must have signed the brokers' certificates, "
            "which must be for the hosts connected to"
        )
    if "SASL" in text or "uthentication" in text:
        return "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, and the mechanism that the broker takes"
    protocol = config.kafka.protocol
    return (
        f"start it, or name it right in KAFKA_BOOTSTRAP_SERVERS; is {protocol} what its listener speaks "
        "(KAFKA_SECURITY_PROTOCOL)?"
    )
