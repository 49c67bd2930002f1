"""manage.py create_topics: idempotent, with partitions and replicas as options."""

from __future__ import annotations

import io
import time
import uuid
from dataclasses import replace

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from django.conf import settings
from django.core.management import CommandError, call_command

from coupons.management.commands import create_topics
from dev.processes import free_port
from tests.system import eventually


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """The settings name topics that do not exist yet."""
    name = f"new-{uuid.uuid4().hex[:12]}"
    kafka = replace(settings.CONFIG.kafka, topic=name, dead_letter_topic=f"{name}.DLT")
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))
    return name


def run(*options: str) -> tuple[str, str]:
    """What it printed, and its warnings."""
    out, err = io.StringIO(), io.StringIO()
    call_command("create_topics", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def partitions(topic: str) -> int:
    return len(client().list_topics(topic, timeout=10).topics[topic].partitions)


def client() -> AdminClient:
    return AdminClient({"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers})


def config_of(topic: str) -> dict[str, str]:
    asking = client()
    found: dict[str, str] = {}

    def is_told() -> bool:
        """Kafka's controller answers that a topic is made before its broker knows of it."""
        [answer] = asking.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        try:
            found.update({name: entry.value for name, entry in answer.result(10).items()})
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            return False
        return True

    eventually(is_told)
    return found


def test_both_topics_are_made(name: str) -> None:
    out, err = run()

    assert out == f"{name}: created, 3 partitions\n{name}.DLT: created, 1 partitions\n"
    assert err == ""
    assert (partitions(name), partitions(f"{name}.DLT")) == (3, 1)


def test_a_second_run_changes_nothing(name: str) -> None:
    run()

    out, err = run()

    assert out == f"{name}: exists, 3 partitions\n{name}.DLT: exists, 1 partitions\n"
    assert err == ""


def test_the_number_of_partitions_is_an_option(name: str) -> None:
    run("--partitions", "5", "--replication-factor", "1")

    assert partitions(name) == 5


def test_another_number_later_is_refused_with_the_reason_and_changes_nothing(name: str) -> None:
    run()

    out, err = run("--partitions", "5")

    assert f"{name}: exists, 3 partitions" in out
    assert "5 partitions were asked for" in err
    assert partitions(name) == 3


def test_nothing_but_an_operator_deletes_events(name: str) -> None:
    run()

    kept = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": "1",
    }
    assert kept.items() <= config_of(name).items()
    assert kept.items() <= config_of(f"{name}.DLT").items()


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2")])
def test_an_acknowledgement_is_of_one_replica_less_than_all(name: str, replicas: int, in_sync: str) -> None:
    topics = create_topics.wanted_topics(partitions=3, replication_factor=replicas)

    assert [(topic.config or {})["min.insync.replicas"] for topic in topics] == [in_sync, in_sync]


def test_what_differs_in_an_existing_topic_is_said_and_left(name: str) -> None:
    as_before = {"retention.ms": "604800000"}
    making = client()
    making.create_topics([NewTopic(name, 3, 1, config=as_before)])[name].result(10)

    out, err = run()

    assert f"{name}: exists, 3 partitions" in out
    assert f"{name}: retention.ms is 604800000, and should be -1" in err
    assert config_of(name)["retention.ms"] == "604800000"

    _, err = run("--replication-factor", "3")
    assert f"{name}: 1 replicas, 3 were asked for" in err


@pytest.mark.parametrize(
    "options",
    [
        ("--partitions", "0"),
        ("--partitions", "-1"),
        ("--replication-factor", "0"),
        ("--partitions", "three"),
        ("--replication-factor", "1.5"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, options: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=options[0]):
        run(*options)


def test_a_broker_that_is_away_is_one_line_that_names_the_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    kafka = replace(settings.CONFIG.kafka, bootstrap_servers=address)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))
    monkeypatch.setattr(create_topics, "TIMEOUT_S", 1)

    started = time.monotonic()
    with pytest.raises(CommandError) as refused:
        run()

    assert time.monotonic() - started < 5
    assert f"KAFKA_BOOTSTRAP_SERVERS={address}" in str(refused.value)
    assert "\n" not in str(refused.value)
