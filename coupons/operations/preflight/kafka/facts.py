"""The brokers and our topics, as they told us. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from coupons.eventlog.log_state import PartitionState
from coupons.operations.preflight.findings import Expected
from coupons.operations.preflight.kafka.broker_clocks import BrokerClocks
from runtime.actuator import Component
from runtime.config import Config

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
    settings: Mapping[str, str] = field(default_factory=dict)  #: of one broker; empty if it tells none
    unreachable: Sequence[str] = ()  #: of KAFKA_BOOTSTRAP_SERVERS
    clocks: BrokerClocks = field(default_factory=BrokerClocks)

    @property
    def events(self) -> Topic | None:
        return self.topics.get(self.config.kafka.topic)

    @property
    def dead_letters(self) -> Topic | None:
        return self.topics.get(self.config.kafka.dead_letter_topic)


def altered(topic: Topic, name: str, value: str) -> str:
    """The command that gives the topic this setting."""
    alter = f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name}"
    return f"{alter} --add-config {name}={value}"
