"""Whether an accepted event is kept until it is decided: replicas, in sync, retention. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight.findings import Finding, note, red, yellow
from coupons.operations.preflight.kafka.facts import KafkaFacts, altered
from runtime.operator_language import say

_DAY_MS: Final = 86_400_000
#: Kafka's own default, and shorter than many an outage is found late.
_SHORT_DAYS: Final = 7
#: Longer than any outage that is sat out (docs/operations.md, "The topics").
_LONG_DAYS: Final = 30
_EVENT_BYTES: Final = 200  #: of an event on disk, as docs/operations.md has it
_FOR_EVER: Final = -1


def replicas(facts: KafkaFacts) -> Iterator[Finding]:
    wanted, brokers = facts.config.kafka.replication_factor, len(facts.brokers)
    for topic in facts.topics.values():
        has = topic.replicas
        move = say(
            "kafka-reassign-partitions.sh to {brokers} brokers each", brokers=min(3, max(wanted, brokers))
        )
        if has == 1 and brokers > 1:
            yield red(
                say(
                    "{name} has 1 replica, and there are {brokers} brokers: a disk that dies takes it",
                    name=topic.name,
                    brokers=brokers,
                ),
                move,
            )
        elif has < wanted:
            yield red(
                say(
                    "{name} has {has} replicas, and COUPON_TOPIC_REPLICATION_FACTOR is {wanted}",
                    name=topic.name,
                    has=has,
                    wanted=wanted,
                ),
                move,
            )
        elif has == 2 and brokers > 2:
            yield yellow(
                say(
                    "{name} has 2 replicas: an acknowledged event may be on one disk, or a broker's"
                    " restart stops all claims",
                    name=topic.name,
                ),
                move,
            )


def min_in_sync(facts: KafkaFacts) -> Iterator[Finding]:
    """acks=all waits for those in sync, and min.insync.replicas says how few they may be."""
    for topic in facts.topics.values():
        has, least = topic.replicas, topic.number("min.insync.replicas", -1)
        if least < 0:
            continue
        wanted = max(1, has - 1)
        mend = altered(topic, "min.insync.replicas", str(wanted))
        if least > has:
            yield red(
                say(
                    "{name} has min.insync.replicas {least} and {has} replicas: nothing can be written",
                    name=topic.name,
                    least=least,
                    has=has,
                ),
                mend,
            )
        elif has >= 3 and least < 2:
            yield red(
                say(
                    "{name} has min.insync.replicas {least}: an event counts as accepted on one disk alone",
                    name=topic.name,
                    least=least,
                ),
                mend,
            )
        elif has >= 2 and least == has:
            yield yellow(
                say(
                    "{name} has min.insync.replicas {least} of {has}: one broker that restarts "
                    "stops all claims",
                    name=topic.name,
                    least=least,
                    has=has,
                ),
                mend,
            )


def in_sync(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        least = topic.number("min.insync.replicas", 1)
        for each in topic.partitions:
            place = f"{topic.name}/{each.number}"
            if each.leader < 0:
                yield red(
                    say("{place} has no leader: it cannot be read or written", place=place),
                    say("start its brokers"),
                )
            elif len(each.in_sync) < least:
                yield red(
                    say(
                        "{place} has {count} replicas in sync, and {least} must be",
                        place=place,
                        count=len(each.in_sync),
                        least=least,
                    ),
                    say("start its brokers"),
                )
            elif len(each.in_sync) < len(each.replicas):
                away = sorted({*each.replicas} - {*each.in_sync})
                yield yellow(
                    say(
                        "{place} is not in sync on broker {names}",
                        place=place,
                        names=", ".join(map(str, away)),
                    ),
                    say("start it, or wait"),
                )


def retention(facts: KafkaFacts) -> Iterator[Finding]:
    """An event that is deleted before it is decided is an accepted request lost."""
    for topic in facts.topics.values():
        kept_ms = topic.number("retention.ms", _FOR_EVER)
        days = kept_ms / _DAY_MS
        mend = altered(topic, "retention.ms", "-1")
        if 0 <= days <= _SHORT_DAYS:
            yield red(
                say(
                    "{name} deletes events after {days:.3g} days (retention.ms {kept_ms}), decided or not",
                    name=topic.name,
                    days=days,
                    kept_ms=kept_ms,
                ),
                mend,
            )
        elif _SHORT_DAYS < days < _LONG_DAYS:
            yield yellow(
                say(
                    "{name} deletes events after {days:.3g} days, decided or not", name=topic.name, days=days
                ),
                mend,
            )
        elif days >= _LONG_DAYS:
            yield note(
                say(
                    "{name} deletes events after {days:,.0f} days: no outage may be longer",
                    name=topic.name,
                    days=days,
                ),
                mend,
            )
        kept_bytes = topic.number("retention.bytes", _FOR_EVER)
        if kept_bytes >= 0:
            events = kept_bytes // _EVENT_BYTES
            finding = red if events < facts.expected.users else yellow
            yield finding(
                say(
                    "{name} keeps {kept_bytes:,} bytes of each partition (retention.bytes), some "
                    "{events:,} events, decided or not",
                    name=topic.name,
                    kept_bytes=kept_bytes,
                    events=events,
                ),
                altered(topic, "retention.bytes", "-1"),
            )


def cleanup(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if "compact" in topic.settings.get("cleanup.policy", "delete"):
            yield red(
                say(
                    "{name} is compacted (cleanup.policy {policy}): of each coupon one event is kept",
                    name=topic.name,
                    policy=topic.settings["cleanup.policy"],
                ),
                altered(topic, "cleanup.policy", "delete"),
            )


def elections(facts: KafkaFacts) -> Iterator[Finding]:
    for topic in facts.topics.values():
        if topic.settings.get("unclean.leader.election.enable", "false") == "true":
            yield red(
                say(
                    "{name}: unclean.leader.election.enable is true: a replica that lacks accepted "
                    "events may lead",
                    name=topic.name,
                ),
                altered(topic, "unclean.leader.election.enable", "false"),
            )
