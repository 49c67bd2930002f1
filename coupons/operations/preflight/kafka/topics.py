"""Our two topics. Pure. What is wanted is what ``create_topics`` makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight.findings import Finding, note, red, yellow
from coupons.operations.preflight.kafka.reading import KafkaFacts, Topic

_DAY_MS: Final = 86_400_000
#: Kafka's own default, and shorter than many an outage is found late.
_SHORT_DAYS: Final = 7
#: Longer than any outage that is sat out (docs/operations.md, "The topics").
_LONG_DAYS: Final = 30
_EVENT_BYTES: Final = 200  #: of an event on disk, as docs/operations.md has it
#: An event of ours, alone in its batch, with headers.
_SMALLEST_MESSAGE: Final = 4096
_FOR_EVER: Final = -1
_NEEDED: Final = frozenset({"DESCRIBE", "READ", "WRITE"})


def exist(facts: KafkaFacts) -> Iterator[Finding]:
    kafka = facts.config.kafka
    for name in (kafka.topic, kafka.dead_letter_topic):
        if name not in facts.topics:
            yield red(f"the topic {name} is missing, or not ours to see", "python manage.py create_topics")


def partitions(facts: KafkaFacts) -> Iterator[Finding]:
    topic, wanted = facts.events, facts.config.kafka.partitions
    if topic is None:
        return
    has = len(topic.partitions)
    if has < wanted:
        yield yellow(
            f"{topic.name} has {has} partitions, and COUPON_TOPIC_PARTITIONS is {wanted}: so many "
            "consumers do work",
            f"close the coupons, wait until the lag is 0, then kafka-topics.sh --alter --topic {topic.name} "
            f"--partitions {wanted} (docs/operations.md, 'More partitions')",
        )
    elif has > wanted:
        yield note(
            f"{topic.name} has {has} partitions, and COUPON_TOPIC_PARTITIONS is {wanted}",
            f"COUPON_TOPIC_PARTITIONS={has}",
        )
    if has < facts.expected.consumers:
        yield yellow(
            f"{topic.name} has {has} partitions for {facts.expected.consumers} consumers: "
            f"{facts.expected.consumers - has} have nothing to do",
            f"{has} consumers, or more partitions (docs/operations.md)",
        )


def replicas(facts: KafkaFacts) -> Iterator[Finding]:
    wanted, brokers = facts.config.kafka.replication_factor, len(facts.brokers)
    for topic in facts.topics.values():
        has = topic.replicas
        move = f"kafka-reassign-partitions.sh to {min(3, max(wanted, brokers))} brokers each"
        if has == 1 and brokers > 1:
            yield red(
                f"{topic.name} has 1 replica, and there are {brokers} brokers: a disk that dies takes it",
                move,
            )
        elif has < wanted:
            yield red(
                f"{topic.name} has {has} replicas, and COUPON_TOPIC_REPLICATION_FACTOR is {wanted}", move
            )
        elif has == 2 and brokers > 2:
            yield yellow(
                f"{topic.name} has 2 replicas: an acknowledged event may be on one disk, or a broker's "
                "restart "
                "stops all claims",
                move,
            )


def min_in_sync(facts: KafkaFacts) -> Iterator[Finding]:
    """acks=all waits for those in sync, and min.insync.replicas says how few they may be."""
    for topic in facts.topics.values():
        has, least = topic.replicas, topic.number("min.insync.replicas", -1)
        if least < 0:
            continue
        wanted = max(1, has - 1)
        mend = _alter(topic, "min.insync.replicas", str(wanted))
        if least > has:
            yield red(
                f"{topic.name} has min.insync.replicas {least} and {has} replicas: nothing can be written",
                mend,
            )
        elif has >= 3 and least < 2:
            yield red(
                f"{topic.name} has min.insync.replicas {least}: an event counts as accepted on one "
                "disk alone",
                mend,
            )
        elif has >= 2 and least == has:
            yield yellow(
                f"{topic.name} has min.insync.replicas {least} of {has}: one broker that restarts "
                "stops all claims",
                mend,
            )


def in_sync(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        least = topic.number("min.insync.replicas", 1)
        for each in topic.partitions:
            place = f"{topic.name}/{each.number}"
            if each.leader < 0:
                yield red(f"{place} has no leader: it cannot be read or written", "start its brokers")
            elif len(each.in_sync) < least:
                yield red(
                    f"{place} has {len(each.in_sync)} replicas in sync, and {least} must be",
                    "start its brokers",
                )
            elif len(each.in_sync) < len(each.replicas):
                away = sorted({*each.replicas} - {*each.in_sync})
                yield yellow(
                    f"{place} is not in sync on broker {', '.join(map(str, away))}", "start it, or wait"
                )


def retention(facts: KafkaFacts) -> Iterator[Finding]:
    """An event that is deleted before it is decided is an accepted request lost."""
    for topic in facts.topics.values():
        kept_ms = topic.number("retention.ms", _FOR_EVER)
        days = kept_ms / _DAY_MS
        mend = _alter(topic, "retention.ms", "-1")
        if 0 <= days <= _SHORT_DAYS:
            yield red(
                f"{topic.name} deletes events after {days:.3g} days (retention.ms {kept_ms}), decided or not",
                mend,
            )
        elif _SHORT_DAYS < days < _LONG_DAYS:
            yield yellow(f"{topic.name} deletes events after {days:.3g} days, decided or not", mend)
        elif days >= _LONG_DAYS:
            yield note(f"{topic.name} deletes events after {days:,.0f} days: no outage may be longer", mend)
        kept_bytes = topic.number("retention.bytes", _FOR_EVER)
        if kept_bytes >= 0:
            events = kept_bytes // _EVENT_BYTES
            finding = red if events < facts.expected.users else yellow
            yield finding(
                f"{topic.name} keeps {kept_bytes:,} bytes of each partition (retention.bytes), some "
                f"{events:,} "
                "events, decided or not",
                _alter(topic, "retention.bytes", "-1"),
            )


def cleanup(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if "compact" in topic.settings.get("cleanup.policy", "delete"):
            yield red(
                f"{topic.name} is compacted (cleanup.policy {topic.settings['cleanup.policy']}): of "
                "each coupon one "
                "event is kept",
                _alter(topic, "cleanup.policy", "delete"),
            )


def message_size(facts: KafkaFacts) -> Iterator[Finding]:
    events, letters = facts.events, facts.dead_letters
    batch = facts.config.producer.batch_bytes
    most = events.number("max.message.bytes", 1 << 30) if events else 1 << 30
    if events and most < batch:
        finding = red if most < _SMALLEST_MESSAGE else yellow
        yield finding(
            f"{events.name} takes {most:,} bytes at once (max.message.bytes), and our batches have {batch:,}",
            _alter(events, "max.message.bytes", str(max(1_048_588, batch))),
        )
    if events and letters and letters.number("max.message.bytes", 1 << 30) <= most < 1 << 30:
        yield yellow(
            f"{letters.name} takes {letters.settings['max.message.bytes']} bytes (max.message.bytes): "
            "an event of "
            f"{most:,} does not fit, with what is said of it",
            _alter(letters, "max.message.bytes", str(2 * most)),
        )


def elections(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if topic.settings.get("unclean.leader.election.enable", "false") == "true":
            yield red(
                f"{topic.name}: unclean.leader.election.enable is true: a replica that lacks accepted "
                "events may lead",
                _alter(topic, "unclean.leader.election.enable", "false"),
            )


def timestamps(facts: KafkaFacts) -> Iterator[Finding]:
    """A broker may refuse events whose time is too far from its own."""
    for topic in facts.topics.values():
        for name in ("message.timestamp.after.max.ms", "message.timestamp.before.max.ms"):
            most_ms = topic.number(name, 1 << 62)
            if most_ms < 600_000:
                yield yellow(
                    f"{topic.name} refuses events whose time is {most_ms / 1000:g} s from the broker's "
                    f"({name})",
                    _alter(topic, name, "3600000" if "after" in name else "9223372036854775807"),
                )


def readable(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if topic.unread:
            yield yellow(
                f"{topic.name}'s settings are not told us, so retention and the like are not looked "
                f"at: {topic.unread}",
                "the right DescribeConfigs on both topics (docs/connections.md)",
            )


def rights(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if topic.operations is not None and (missing := sorted(_NEEDED - topic.operations)):
            yield red(
                f"our user may not {', '.join(missing)} on {topic.name}",
                "the rights in docs/connections.md (kafka-acls.sh --add)",
            )
    group = facts.group_operations
    if group is not None and "READ" not in group:
        yield red(
            f"our user may not READ the group {facts.config.kafka.group_id}",
            "the rights in docs/connections.md (kafka-acls.sh --add --group)",
        )


def _alter(topic: Topic, name: str, value: str) -> str:
    return (
        "kafka-configs.sh --alter --entity-type topics --entity-name "
        f"{topic.name} --add-config {name}={value}"
    )
