"""Create the topics."""

from __future__ import annotations

import argparse
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)
from django.conf import settings
from django.core.management.base import CommandError

from coupons.eventlog import kafka_client
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

TIMEOUT_S: Final = 15  #: for each question to the broker: making a topic takes seconds on a busy one
#: Bytes of a dead letter: the original and its headers, and so more than the largest original.
_DEAD_LETTER_BYTES: Final = "2097152"
#: An accepted request must be decided however long no consumer ran. So Kafka must not delete events by age or
#: size, nor compact the log, which would keep one event for each coupon: only an operator deletes.
_KEPT: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


class Command(OperatorCommand):
    help = (
        "Create the event topic and the dead letter topic, both kept for ever: an event that is deleted "
        "before it is decided would be an accepted request lost (docs/operations.md, 'The topics'). With "
        "more than one replica min.insync.replicas is one less. Idempotent: what exists is left as it is, "
        "and where it differs that is said."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        kafka = settings.CONFIG.kafka
        parser.add_argument(
            "--partitions",
            type=int,
            default=kafka.partitions,
            help="of the event topic (default %(default)s)",
        )
        parser.add_argument(
            "--replication-factor",
            type=int,
            default=kafka.replication_factor,
            help="of both topics (default %(default)s; 3 where there are 3 brokers)",
        )

    def handle(self, *args: Any, partitions: int, replication_factor: int, **options: Any) -> None:
        if not 1 <= partitions <= 10_000 or not 1 <= replication_factor <= 32:
            raise CommandError(say("--partitions must be 1 to 10000, --replication-factor 1 to 32"))
        kafka = settings.CONFIG.kafka
        client = AdminClient(kafka_client.common())
        try:
            existing = client.list_topics(timeout=TIMEOUT_S).topics
        except KafkaException as error:
            raise CommandError(
                say(
                    "the broker at KAFKA_BOOTSTRAP_SERVERS={servers} does not answer: {error}",
                    servers=kafka.bootstrap_servers,
                    error=error.args[0].str(),
                )
            ) from error
        for topic in wanted_topics(partitions=partitions, replication_factor=replication_factor):
            if topic.topic in existing:
                self._say_existing(client, topic, existing[topic.topic])
            else:
                self._create(client, topic)

    def _say_existing(self, client: AdminClient, topic: NewTopic, found: TopicMetadata) -> None:
        self.stdout.write(
            say("{topic}: exists, {count} partitions", topic=topic.topic, count=len(found.partitions))
        )
        if topic.num_partitions != len(found.partitions):
            self.stderr.write(
                say(
                    "{topic}: {num_partitions} partitions were asked for. The number is not "
                    "changed: it decides which partition a coupon's events go to, and with it their"
                    " order. See docs/operations.md, 'More partitions'.",
                    topic=topic.topic,
                    num_partitions=topic.num_partitions,
                )
            )
        replicas = min((len(each.replicas) for each in found.partitions.values()), default=0)
        if topic.replication_factor != replicas:
            self.stderr.write(
                say(
                    "{topic}: {replicas} replicas, {replication_factor} were asked for. The number "
                    "is not changed: kafka-reassign-partitions.sh does it.",
                    topic=topic.topic,
                    replicas=replicas,
                    replication_factor=topic.replication_factor,
                )
            )
        self._say_settings(client, topic)

    def _say_settings(self, client: AdminClient, topic: NewTopic) -> None:
        resource = ConfigResource(ResourceType.TOPIC, topic.topic)
        [answer] = client.describe_configs([resource], request_timeout=TIMEOUT_S).values()
        try:
            found = {name: entry.value for name, entry in answer.result(TIMEOUT_S + 1).items()}
        except KafkaException as error:
            self.stderr.write(
                say(
                    "{topic}: its settings cannot be read: {error}",
                    topic=topic.topic,
                    error=error.args[0].str(),
                )
            )
            return
        for name, wanted in (topic.config or {}).items():
            if found.get(name, wanted) != wanted:  # the embedded broker lists only settings that were set
                self.stderr.write(
                    say(
                        "{topic}: {name} is {found}, and should be {wanted}. It is not changed: "
                        "kafka-configs.sh --alter --entity-type topics --entity-name {topic} "
                        "--add-config {name}={wanted}",
                        topic=topic.topic,
                        name=name,
                        found=found[name],
                        wanted=wanted,
                    )
                )

    def _create(self, client: AdminClient, topic: NewTopic) -> None:
        try:
            client.create_topics([topic], operation_timeout=TIMEOUT_S)[topic.topic].result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                self.stdout.write(say("{topic}: exists", topic=topic.topic))
                return
            raise CommandError(f"{topic.topic}: {error.args[0].str()}") from error
        self.stdout.write(
            say(
                "{topic}: created, {num_partitions} partitions",
                topic=topic.topic,
                num_partitions=topic.num_partitions,
            )
        )


def wanted_topics(*, partitions: int, replication_factor: int) -> list[NewTopic]:
    """Both topics as they should be, with so many replicas."""
    kafka = settings.CONFIG.kafka
    # The least that acks=all means: one broker may be away, and of three brokers the other two have the
    # event.
    kept = _KEPT | {"min.insync.replicas": str(max(1, replication_factor - 1))}
    return [
        NewTopic(kafka.topic, partitions, replication_factor, config=kept),
        NewTopic(
            kafka.dead_letter_topic,
            1,
            replication_factor,
            config=kept | {"max.message.bytes": _DEAD_LETTER_BYTES},
        ),
    ]
