"""The brokers, their clocks, and where the log stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight import clocks
from coupons.operations.preflight.findings import Check, Finding, Subject, note, red, yellow
from coupons.operations.preflight.kafka import keeping, reading, topics
from coupons.operations.preflight.kafka.facts import KafkaFacts
from runtime.operator_language import say


def brokers(facts: KafkaFacts) -> Iterator[Finding]:
    if len(facts.brokers) < 3:
        plural = "s" if len(facts.brokers) > 1 else ""
        yield note(
            say(
                "{count} broker{plural}: with three, one may be away and no accepted event is lost",
                count=len(facts.brokers),
                plural=plural,
            ),
            say("three, and create_topics --replication-factor 3"),
        )
    offsets = facts.offsets
    if offsets is not None and offsets.replicas == 1 and len(facts.brokers) > 2:
        yield yellow(
            say("__consumer_offsets has 1 replica: while its broker is away no consumer has a partition"),
            say("kafka-reassign-partitions.sh to three brokers each, and offsets.topic.replication.factor=3"),
        )


def bootstrap(facts: KafkaFacts) -> Iterator[Finding]:
    named = [each for each in facts.config.kafka.bootstrap_servers.split(",") if each.strip()]
    if len(named) == 1 and len(facts.brokers) > 1:
        yield note(
            say("KAFKA_BOOTSTRAP_SERVERS names one broker: while it is away no process can start"),
            say("two or three, separated by commas"),
        )


def unreachable(facts: KafkaFacts) -> Iterator[Finding]:
    for address in facts.unreachable:
        yield yellow(
            say("{address} of KAFKA_BOOTSTRAP_SERVERS does not answer", address=address),
            say("start it, or take it out: while the others are away no process can start"),
        )


def session(facts: KafkaFacts) -> Iterator[Finding]:
    ours = facts.config.consumer.session_timeout_ms
    least, most = (facts.settings.get(f"group.{word}.session.timeout.ms", "") for word in ("min", "max"))
    if (least and ours < int(least)) or (most and ours > int(most)):
        yield red(
            say(
                "COUPON_CONSUMER_SESSION_TIMEOUT_MS is {ours}, and the brokers take {least} to "
                "{most}: no consumer joins",
                ours=ours,
                least=least,
                most=most,
            ),
            say("COUPON_CONSUMER_SESSION_TIMEOUT_MS from {least} to {most}", least=least, most=most),
        )


def failover(facts: KafkaFacts) -> Iterator[Finding]:
    """A note, because a managed Kafka has values that nobody can change."""
    missed_ms = facts.settings.get("broker.session.timeout.ms", "")
    waiting_ms = facts.config.producer.waiting_s * 1000
    if len(facts.brokers) > 1 and missed_ms.isdecimal() and int(missed_ms) >= waiting_ms:
        yield note(
            say(
                "a broker that died is missed after {missed_ms} ms (broker.session.timeout.ms), and a claim "
                "waits {waiting_ms:.0f} ms: those of its partitions are refused for some seconds",
                missed_ms=missed_ms,
                waiting_ms=waiting_ms,
            ),
            say(
                "broker.session.timeout.ms=3000 and COUPON_PUBLISH_TIMEOUT_MS=9000 (docs/operations.md, "
                "'When brokers die')"
            ),
        )


def creation(facts: KafkaFacts) -> Iterator[Finding]:
    if facts.settings.get("auto.create.topics.enable") == "true":
        yield note(
            say(
                "the brokers make topics that somebody names (auto.create.topics.enable): a "
                "mistyped COUPON_TOPIC is made with their defaults"
            ),
            "auto.create.topics.enable=false",
        )


def log(facts: KafkaFacts) -> Iterator[Finding]:
    for each in facts.states:
        if each.state.is_a_loss:
            yield red(
                say(
                    "partition {partition} stands still ({state}): events were lost before they were decided",
                    partition=each.partition,
                    state=each.state,
                ),
                say("docs/operations.md, 'Positions', then python manage.py log_position accept-loss"),
            )
        elif each.state is each.state.TOPIC_MADE_ANEW:
            yield yellow(
                say(
                    "the topic was made anew since partition {partition} was decided: a consumer "
                    "begins at its start",
                    partition=each.partition,
                ),
                say("find out who did it: what the old topic had undecided is lost"),
            )


def clock(facts: KafkaFacts) -> Iterator[Finding]:
    for broker, found in facts.clocks.readings.items():
        yield from clocks.differences(say("broker {broker}", broker=broker), found)
    if facts.clocks.unread:
        yield note(
            say("the brokers' clocks are not looked at: {unread}", unread=facts.clocks.unread),
            say(
                "let our user Create and Delete topics that begin with {topic}.preflight-",
                topic=facts.config.kafka.topic,
            ),
        )


def _without_broker(facts: KafkaFacts) -> str:
    return "" if facts.settings else say("the brokers do not tell us their settings")


def _without_topics(facts: KafkaFacts) -> str:
    return "" if facts.events and facts.dead_letters else say("a topic is missing (kafka.topics)")


def _without_settings(facts: KafkaFacts) -> str:
    unread = any(topic.unread for topic in facts.topics.values())
    return say("the topics' settings are not told (kafka.readable)") if unread else _without_topics(facts)


def _without_operations(facts: KafkaFacts) -> str:
    untold = any(topic.operations is None for topic in facts.topics.values())
    if untold or not facts.topics:
        return say("the brokers do not tell rights") if untold else _without_topics(facts)
    return ""


def _without_states(facts: KafkaFacts) -> str:
    return "" if facts.states else say("log or positions cannot be read")


SUBJECT: Final = Subject(
    name="kafka",
    read=reading.read,
    told=lambda facts: ", ".join(f"{name} {value}" for name, value in facts.component.details.items()),
    checks=(
        Check(name="brokers", right="one broker may be away", look=brokers),
        Check(name="bootstrap", right="enough brokers are named to begin with", look=bootstrap),
        Check(name="unreachable", right="each broker that is named answers", look=unreachable),
        Check(
            name="session", right="the brokers take our session timeout", look=session, blind=_without_broker
        ),
        Check(
            name="failover",
            right="a leader's death refuses no claim",
            look=failover,
            blind=_without_broker,
        ),
        Check(name="creation", right="no topic is made by mistake", look=creation, blind=_without_broker),
        Check(name="topics", right="both topics are there", look=topics.exist),
        Check(name="readable", right="their settings are told us", look=topics.readable),
        Check(
            name="partitions",
            right="as many partitions as were asked for",
            look=topics.partitions,
            blind=_without_topics,
        ),
        Check(
            name="replicas",
            right="each event is on several disks, where there are several",
            look=keeping.replicas,
            blind=_without_topics,
        ),
        Check(
            name="min-isr",
            right="min.insync.replicas fits the replicas",
            look=keeping.min_in_sync,
            blind=_without_settings,
        ),
        Check(
            name="in-sync",
            right="every partition has a leader and all its replicas",
            look=keeping.in_sync,
            blind=_without_topics,
        ),
        Check(
            name="retention",
            right="no event is deleted before it is decided",
            look=keeping.retention,
            blind=_without_settings,
        ),
        Check(name="cleanup", right="no topic is compacted", look=keeping.cleanup, blind=_without_settings),
        Check(
            name="message-size",
            right="our batches and dead letters fit",
            look=topics.message_size,
            blind=_without_settings,
        ),
        Check(
            name="elections",
            right="only a replica that has all events may lead",
            look=keeping.elections,
            blind=_without_settings,
        ),
        Check(
            name="timestamps",
            right="no event is refused for its time",
            look=topics.timestamps,
            blind=_without_settings,
        ),
        Check(
            name="rights",
            right="our user may read and write what it must",
            look=topics.rights,
            blind=_without_operations,
        ),
        Check(name="log", right="no partition stands still", look=log, blind=_without_states),
        Check(name="clock", right="the brokers' clocks are ours", look=clock),
    ),
)
