"""The preflight's checks of topics and brokers, on facts that are wrong in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coupons.eventlog.log_state import PartitionState, State
from coupons.eventlog.place import EndOffset, FirstOffset
from coupons.operations.preflight.findings import Expected, Level
from coupons.operations.preflight.kafka import cluster, keeping, topics
from coupons.operations.preflight.kafka.broker_clocks import BrokerClocks
from coupons.operations.preflight.kafka.facts import OFFSETS, Partition, Topic
from tests.unit import preflight_facts
from tests.unit.preflight_facts import ahead, changed, kafka, only

RED, YELLOW, NOTE = Level.RED, Level.YELLOW, Level.NOTE


SHORT = {"group.min.session.timeout.ms": "1", "group.max.session.timeout.ms": "10"}


def test_a_right_kafka() -> None:
    several = changed("kafka", bootstrap_servers="a:1,b:2", replication_factor=3)
    for check in cluster.SUBJECT.checks:
        assert not list(check.look(kafka(config=several))), check.name


@pytest.mark.parametrize(
    ("settings", "look", "level", "word"),
    [
        ({"min.insync.replicas": "1"}, keeping.min_in_sync, RED, "min.insync.replicas=2"),
        ({"min.insync.replicas": "3"}, keeping.min_in_sync, YELLOW, "one broker that restarts"),
        ({"min.insync.replicas": "4"}, keeping.min_in_sync, RED, "nothing can be written"),
        ({"retention.ms": "3600000"}, keeping.retention, RED, "retention.ms=-1"),
        ({"retention.ms": "604800000"}, keeping.retention, RED, "after 7 days"),
        ({"retention.ms": "864000000"}, keeping.retention, YELLOW, "after 10 days"),
        ({"retention.ms": "31536000000"}, keeping.retention, NOTE, "after 365 days"),
        ({"retention.bytes": "1000000"}, keeping.retention, RED, "some 5,000 events"),
        ({"retention.bytes": "1000000000"}, keeping.retention, YELLOW, "retention.bytes=-1"),
        ({"cleanup.policy": "compact"}, keeping.cleanup, RED, "cleanup.policy=delete"),
        ({"cleanup.policy": "compact,delete"}, keeping.cleanup, RED, "compact,delete"),
        ({"max.message.bytes": "65536"}, topics.message_size, YELLOW, "takes 65,536 bytes"),
        ({"max.message.bytes": "1000"}, topics.message_size, RED, "max.message.bytes=1048588"),
        ({"max.message.bytes": "10000000"}, topics.message_size, YELLOW, ".DLT takes 2097152 bytes"),
        ({"unclean.leader.election.enable": "true"}, keeping.elections, RED, "enable=false"),
        ({"message.timestamp.after.max.ms": "1000"}, topics.timestamps, YELLOW, "1 s from the broker's"),
    ],
)
def test_a_topics_setting(
    settings: dict[str, str], look: Callable[[Any], Any], level: Level, word: str
) -> None:
    name = changed("kafka").kafka.topic
    only(look(kafka(change=lambda _: preflight_facts.topic(name, settings=settings))), level, word)


def fewer(partitions: int = 3, brokers: tuple[int, ...] = (1, 2, 3)) -> Callable[[Topic], Topic]:
    return lambda topic: preflight_facts.topic(topic.name, partitions=partitions, brokers=brokers)


def with_partition(**changes: Any) -> Callable[[Topic], Topic]:
    right = Partition(number=1, leader=2, replicas=(1, 2, 3), in_sync=(1, 2, 3))
    return lambda topic: replace(topic, partitions=[replace(right, **changes)])


@pytest.mark.parametrize(
    ("change", "look", "level", "word"),
    [
        (fewer(partitions=5), topics.partitions, NOTE, "COUPON_TOPIC_PARTITIONS=5"),
        (fewer(brokers=(1,)), keeping.replicas, RED, "1 replica, and there are 3 brokers"),
        (with_partition(in_sync=(2, 3)), keeping.in_sync, YELLOW, "broker 1"),
        (with_partition(in_sync=(2,)), keeping.in_sync, RED, "1 replicas in sync, and 2 must be"),
        (with_partition(leader=-1), keeping.in_sync, RED, "no leader"),
        (lambda topic: replace(topic, unread="denied"), topics.readable, YELLOW, "DescribeConfigs"),
        (lambda topic: replace(topic, operations=frozenset({"READ"})), topics.rights, RED, "DESCRIBE, WRITE"),
    ],
)
def test_a_topic(
    change: Callable[[Topic], Topic], look: Callable[[Any], Any], level: Level, word: str
) -> None:
    only(look(kafka(change=change)), level, word)


def test_too_few_partitions_and_replicas() -> None:
    few = kafka(change=fewer(partitions=2), expected=Expected(consumers=3))
    only(topics.partitions(few), YELLOW, "kafka-topics.sh --alter", "--partitions 3")
    only(topics.partitions(kafka(expected=Expected(consumers=4))), YELLOW, "4 consumers", "1 have nothing")
    two = kafka(change=fewer(brokers=(1, 2)), config=changed("kafka", replication_factor=2))
    only(keeping.replicas(two), YELLOW, "2 replicas")
    only(keeping.replicas(kafka(change=fewer(brokers=(1, 2)))), RED, "COUPON_TOPIC_REPLICATION_FACTOR is 3")
    one = kafka(change=fewer(brokers=(1,)), config=changed("kafka", replication_factor=1), brokers=[1])
    assert not [each for each in keeping.replicas(one) if changed("kafka").kafka.topic + " " in each.what]


def missed_after(milliseconds: str) -> dict[str, Any]:
    """A dead broker is, and claims wait as long as by default."""
    config = changed("producer", publish_timeout_ms=9000)
    return {"settings": {"broker.session.timeout.ms": milliseconds}, "config": config}


def state(kind: State) -> PartitionState:
    return PartitionState(
        partition=1,
        topic_id="t",
        first=FirstOffset(5),
        end=EndOffset(9),
        next_offset=None,
        copy=None,
        lost_end=None,
        state=kind,
    )


@pytest.mark.parametrize(
    ("changes", "look", "level", "word"),
    [
        ({"brokers": [1]}, cluster.brokers, NOTE, "1 broker:"),
        ({"offsets": preflight_facts.topic(OFFSETS, brokers=(1,))}, cluster.brokers, YELLOW, OFFSETS),
        ({"config": changed("kafka", bootstrap_servers="a:1")}, cluster.bootstrap, NOTE, "names one broker"),
        ({"unreachable": ["b:9092"]}, cluster.unreachable, YELLOW, "b:9092 of KAFKA_BOOTSTRAP_SERVERS"),
        ({"settings": SHORT}, cluster.session, RED, "the brokers take 1 to 10"),
        (missed_after("9000"), cluster.failover, NOTE, "missed after 9000 ms"),
        (missed_after("3000"), cluster.failover, None, ""),
        ({**missed_after("9000"), "brokers": [1]}, cluster.failover, None, ""),
        ({"settings": {"auto.create.topics.enable": "true"}}, cluster.creation, NOTE, "mistyped"),
        ({"topics": {}}, topics.rights, None, ""),
        ({"group_operations": frozenset()}, topics.rights, RED, "READ the group"),
        ({"states": [state(State.BEHIND_THE_LOG)]}, cluster.log, RED, "accept-loss"),
        ({"states": [state(State.TOPIC_MADE_ANEW)]}, cluster.log, YELLOW, "made anew"),
        ({"states": [state(State.NO_POSITION)]}, cluster.log, None, ""),
        (
            {"clocks": BrokerClocks(readings={1: ahead(0), 2: ahead(180)})},
            cluster.clock,
            RED,
            "broker 2's clock",
        ),
        ({"clocks": BrokerClocks(unread="denied")}, cluster.clock, NOTE, "denied"),
    ],
)
def test_a_cluster(
    changes: dict[str, Any], look: Callable[[Any], Any], level: Level | None, word: str
) -> None:
    found = list(look(kafka(**changes)))
    if level is None:
        assert not found
    else:
        only(found, level, word)


def test_missing_topics() -> None:
    facts = kafka(topics={})

    assert [(each.level, each.mend) for each in topics.exist(facts)] == [
        (RED, "python manage.py create_topics")
    ] * 2
    blind = {check.name for check in cluster.SUBJECT.checks if check.blind(facts)}
    assert {"partitions", "retention", "min-isr", "rights", "log"} <= blind
