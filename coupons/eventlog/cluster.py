"""The topic and the group as the broker describes them, for the operator. Blocks its thread."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from django.conf import settings

from coupons.eventlog import kafka_client
from coupons.eventlog.log_reader import LogUnavailable
from runtime.operator_language import marked

_TIMEOUT_S: Final = 10.0  #: for each question: an operator waits, and a slow broker is not away
#: What brokers that are not Kafka, and logins with few rights, do not tell: it is left out.
_NOT_TOLD: Final = (
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INVALID_REQUEST,
)
_SETTINGS: Final = ("retention.ms", "retention.bytes", "cleanup.policy", "min.insync.replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Brokers' ids. ``leader``: None while none is elected."""

    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """``settings``: those that decide what is kept; empty if the broker does not tell."""

    name: str
    brokers: tuple[int, ...]
    partitions: Mapping[int, Replicas]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A consumer of the group, and its partitions of the event topic."""

    member_id: str
    client_id: str
    host: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """``state``: Kafka's; "" if the broker does not tell of groups."""

    group_id: str
    state: str
    members: tuple[Member, ...]


def topic() -> Topic:
    """Raises LogUnavailable."""
    name, client = settings.CONFIG.kafka.topic, AdminClient(kafka_client.common())
    try:
        metadata = client.list_topics(name, timeout=_TIMEOUT_S)
        found = metadata.topics[name]
        if found.error is not None:
            raise KafkaException(found.error)
    except KafkaException as error:
        raise LogUnavailable(str(error)) from error
    return Topic(
        name=name,
        brokers=tuple(sorted(metadata.brokers)),
        partitions={
            number: Replicas(
                leader=each.leader if each.leader >= 0 else None,
                replicas=tuple(each.replicas),
                in_sync=tuple(each.isrs),
            )
            for number, each in sorted(found.partitions.items())
        },
        settings=_settings_of(client, name),
    )


def group() -> Group:
    """Raises LogUnavailable."""
    kafka, client = settings.CONFIG.kafka, AdminClient(kafka_client.common())
    asked = client.describe_consumer_groups([kafka.group_id], request_timeout=_TIMEOUT_S)[kafka.group_id]
    found = _answer(asked)
    if found is None:
        return Group(group_id=kafka.group_id, state="", members=())
    state = found.state if isinstance(found.state, ConsumerGroupState) else ConsumerGroupState.UNKNOWN
    members = [
        Member(
            member_id=each.member_id,
            client_id=each.client_id,
            host=each.host.lstrip("/"),
            partitions=tuple(
                sorted(at.partition for at in each.assignment.topic_partitions if at.topic == kafka.topic)
            ),
        )
        for each in found.members
    ]
    members.sort(key=lambda member: (member.partitions, member.member_id))
    return Group(group_id=kafka.group_id, state=state.name, members=tuple(members))


def _settings_of(client: AdminClient, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    [asked] = client.describe_configs([resource], request_timeout=_TIMEOUT_S).values()
    found = _answer(asked) or {}
    return {key: str(found[key].value) for key in _SETTINGS if key in found}


def _answer(asked: Any) -> Any:
    """The broker's answer; None if it does not tell such things. Raises LogUnavailable."""
    try:
        return asked.result(_TIMEOUT_S + 1)
    except FutureTimeout as error:
        raise LogUnavailable(marked("the broker did not answer in time")) from error
    except KafkaException as error:
        if error.args[0].code() in _NOT_TOLD:
            return None
        raise LogUnavailable(str(error)) from error
