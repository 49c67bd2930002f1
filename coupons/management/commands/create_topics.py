"""Create the topics."""

from __future__ import annotations

import argparse
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from coupons import kafka_client

_TIMEOUT_S: Final = 15
#: A dead letter is the original and its headers: larger than the largest original.
_DEAD_LETTER_BYTES: Final = "2097152"


class Command(BaseCommand):
    help = "Create the event topic and the dead letter topic. Idempotent: what exists is left as it is."

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
            raise CommandError("--partitions must be 1 to 10000, --replication-factor 1 to 32")
        kafka = settings.CONFIG.kafka
        client = AdminClient(kafka_client.common())
        try:
            existing = client.list_topics(timeout=_TIMEOUT_S).topics
        except KafkaException as error:
            raise CommandError(
                f"the broker at KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap_servers} does not answer: "
                f"{error.args[0].str()}"
            ) from error
        wanted = [
            NewTopic(kafka.topic, partitions, replication_factor),
            NewTopic(
                kafka.dead_letter_topic,
                1,
                replication_factor,
                config={"max.message.bytes": _DEAD_LETTER_BYTES},
            ),
        ]
        for topic in wanted:
            if topic.topic in existing:
                self._say_existing(topic, len(existing[topic.topic].partitions))
            else:
                self._create(client, topic)

    def _say_existing(self, topic: NewTopic, partitions: int) -> None:
        self.stdout.write(f"{topic.topic}: exists, {partitions} partitions")
        if topic.num_partitions != partitions:
            self.stderr.write(
                f"{topic.topic}: {topic.num_partitions} partitions were asked for. The number is not "
                "changed: it decides which partition a coupon's events go to, and with it their order. "
                "See docs/operations.md, 'More partitions'."
            )

    def _create(self, client: AdminClient, topic: NewTopic) -> None:
        try:
            client.create_topics([topic], operation_timeout=_TIMEOUT_S)[topic.topic].result(_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was faster
                self.stdout.write(f"{topic.topic}: exists")
                return
            raise CommandError(f"{topic.topic}: {error.args[0].str()}") from error
        self.stdout.write(f"{topic.topic}: created, {topic.num_partitions} partitions")
