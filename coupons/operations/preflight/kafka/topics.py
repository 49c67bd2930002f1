"""Whether our two topics are there, and take what we write. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight.findings import Finding, note, red, yellow
from coupons.operations.preflight.kafka.facts import KafkaFacts, altered
from runtime.operator_language import say

#: An event of ours, alone in its batch, with headers.
_SMALLEST_MESSAGE: Final = 4096
_NEEDED: Final = frozenset({"DESCRIBE", "READ", "WRITE"})


def exist(facts: KafkaFacts) -> Iterator[Finding]:
    kafka = facts.config.kafka
    for name in (kafka.topic, kafka.dead_letter_topic):
        if name not in facts.topics:
            yield red(
                say("the topic {name} is missing, or not ours to see", name=name),
                "python manage.py create_topics",
            )


def partitions(facts: KafkaFacts) -> Iterator[Finding]:
    topic, wanted = facts.events, facts.config.kafka.partitions
    if topic is None:
        return
    has = len(topic.partitions)
    if has < wanted:
        yield yellow(
            say(
                "{name} has {has} partitions, and COUPON_TOPIC_PARTITIONS is {wanted}: so many "
                "consumers do work",
                name=topic.name,
                has=has,
                wanted=wanted,
            ),
            say(
                "close the coupons, wait until the lag is 0, then kafka-topics.sh --alter "
                "--topic {name} --partitions {wanted} (docs/operations.md, 'More partitions')",
                name=topic.name,
                wanted=wanted,
            ),
        )
    elif has > wanted:
        yield note(
            say(
                "{name} has {has} partitions, and COUPON_TOPIC_PARTITIONS is {wanted}",
                name=topic.name,
                has=has,
                wanted=wanted,
            ),
            f"COUPON_TOPIC_PARTITIONS={has}",
        )
    if wanted <= has < facts.expected.consumers:
        yield yellow(
            say(
                "{name} has {has} partitions for {consumers} consumers: {idle} have nothing to do",
                name=topic.name,
                has=has,
                consumers=facts.expected.consumers,
                idle=facts.expected.consumers - has,
            ),
            say("{has} consumers, or more partitions (docs/operations.md)", has=has),
        )


def message_size(facts: KafkaFacts) -> Iterator[Finding]:
    events, letters = facts.events, facts.dead_letters
    batch = facts.config.producer.batch_bytes
    most = events.number("max.message.bytes", 1 << 30) if events else 1 << 30
    if events and most < batch:
        finding = red if most < _SMALLEST_MESSAGE else yellow
        yield finding(
            say(
                "{name} takes {most:,} bytes at once (max.message.bytes), and our batches have {batch:,}",
                name=events.name,
                most=most,
                batch=batch,
            ),
            altered(events, "max.message.bytes", str(max(1_048_588, batch))),
        )
    if events and letters and letters.number("max.message.bytes", 1 << 30) <= most < 1 << 30:
        yield yellow(
            say(
                "{name} takes {room} bytes (max.message.bytes): an event of {most:,} does not "
                "fit, with what is said of it",
                name=letters.name,
                room=letters.settings["max.message.bytes"],
                most=most,
            ),
            altered(letters, "max.message.bytes", str(2 * most)),
        )


def timestamps(facts: KafkaFacts) -> Iterator[Finding]:
    """A broker may refuse events whose time is too far from its own."""
    for topic in facts.topics.values():
        for name in ("message.timestamp.after.max.ms", "message.timestamp.before.max.ms"):
            most_ms = topic.number(name, 1 << 62)
            if most_ms < 600_000:
                yield yellow(
                    say(
                        "{name} refuses events whose time is {seconds:g} s from the broker's ({setting})",
                        name=topic.name,
                        seconds=most_ms / 1000,
                        setting=name,
                    ),
                    altered(topic, name, "3600000" if "after" in name else "9223372036854775807"),
                )


def readable(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if topic.unread:
            yield yellow(
                say(
                    "{name}'s settings are not told us, so retention and the like are not looked "
                    "at: {unread}",
                    name=topic.name,
                    unread=topic.unread,
                ),
                say("the right DescribeConfigs on both topics (docs/connections.md)"),
            )


def rights(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if topic.operations is not None and (missing := sorted(_NEEDED - topic.operations)):
            yield red(
                say("our user may not {rights} on {name}", rights=", ".join(missing), name=topic.name),
                say("the rights in docs/connections.md (kafka-acls.sh --add)"),
            )
    group = facts.group_operations
    if group is not None and "READ" not in group:
        yield red(
            say("our user may not READ the group {group_id}", group_id=facts.config.kafka.group_id),
            say("the rights in docs/connections.md (kafka-acls.sh --add --group)"),
        )
