"""A broker that answers NOT_ENOUGH_REPLICAS: it takes no event with fewer than min.insync.replicas."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException
from django.conf import settings
from django.core.management import call_command
from prometheus_client import REGISTRY

from coupons.eventlog import kafka_client
from coupons.eventlog.broker_probe import BrokerProbe
from coupons.eventlog.delivery import Acknowledged, NotPublished, Record, Uncertain
from coupons.eventlog.producer import EventProducer
from coupons.operations import health
from dev.clusters.brokers import Brokers
from dev.processes import LOOPBACK
from runtime import config
from tests import broker
from tests.system import eventually

TIMEOUT_S = 3.0
RECORDS = [Record(key=b"coupon-%d" % number, value=b"x") for number in range(1, 21)]  # of all partitions


@pytest.fixture
def topic(three: Brokers, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of three replicas, all of which must be in sync."""
    for name, value in three.environment().items():
        monkeypatch.setenv(name, value)
    reached = replace(config.load().kafka, topic=f"events-{uuid4().hex[:8]}")
    timing = replace(settings.CONFIG.producer, publish_timeout_ms=int(TIMEOUT_S * 1000))
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=reached, producer=timing))
    call_command("create_topics", stdout=io.StringIO())
    broker.alter_topic(reached.topic, {"min.insync.replicas": "3"})
    yield reached.topic
    three.start()
    three.wait_in_sync(reached.topic)


@pytest.fixture
def publisher(topic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventProducer]:
    made = EventProducer()
    monkeypatch.setattr(health, "event_producer", lambda: made)
    eventually(lambda: all(isinstance(each, Acknowledged) for each in made.publish(RECORDS)))
    yield made
    made.close()


@pytest.fixture
def without_replicas(publisher: EventProducer, three: Brokers, topic: str) -> None:
    """One of the brokers is dead, and the others say so."""
    three.kill(2)
    eventually(lambda: three.in_sync(topic) == {1, 3}, within_s=30)


def rebuilds() -> float:
    return REGISTRY.get_sample_value("coupon_producer_rebuilds_total") or 0.0


def mended(publisher: EventProducer, topic: str) -> None:
    broker.alter_topic(topic, {"min.insync.replicas": "2"})
    eventually(lambda: all(isinstance(each, Acknowledged) for each in publisher.publish(RECORDS)))


@pytest.mark.usefixtures("without_replicas")
def test_after_the_first_timeouts_records_are_refused_at_once_and_for_certain(
    publisher: EventProducer, topic: str
) -> None:
    publisher.publish(RECORDS)
    uncertain = 0
    for _ in range(20):
        started = time.monotonic()
        receipts = publisher.publish(RECORDS)
        assert time.monotonic() - started < TIMEOUT_S  # nobody waits for the timeout
        assert all(isinstance(each, NotPublished | Uncertain) for each in receipts)
        uncertain += sum(isinstance(each, Uncertain) for each in receipts)
        time.sleep(0.05)

    assert uncertain <= 3  # a partition is tried by one of them
    mended(publisher, topic)


@pytest.mark.usefixtures("without_replicas")
def test_health_is_steadily_down_and_the_producer_stays(publisher: EventProducer, topic: str) -> None:
    before = rebuilds()
    publisher.publish(RECORDS)
    eventually(lambda: not health.broker().is_up, within_s=10)

    for _ in range(60):
        publisher.publish(RECORDS)
        told = health.broker()
        assert (told.is_up, told.details["error"]) == (False, "no partition takes events")
        time.sleep(0.1)

    assert rebuilds() == before
    mended(publisher, topic)
    assert health.broker().is_up
    assert rebuilds() == before


@pytest.mark.usefixtures("without_replicas")
def test_what_waits_for_an_overdue_acknowledgement_is_written_once_the_replicas_are_back(
    publisher: EventProducer, topic: str
) -> None:
    """As in a leader's election that takes less than the publish timeout: nobody is refused."""
    overdue = publisher.publish_in_parts(RECORDS)
    assert next(overdue) == {}
    broker.alter_topic(topic, {"min.insync.replicas": "2"})

    receipts = {index: receipt for part in overdue for index, receipt in part.items()}

    assert len(receipts) == len(RECORDS)
    assert all(isinstance(each, Acknowledged) for each in receipts.values())


@contextmanager
def connections_counted(port: int) -> Iterator[Callable[[], int]]:
    """How often somebody connected to this port: each is accepted and hung up on."""
    count = 0

    def hang_up() -> None:
        nonlocal count
        with suppress(OSError):  # closed at the end
            while True:
                listener.accept()[0].close()
                count += 1

    with socket.create_server((LOOPBACK, port)) as listener:
        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        yield lambda: count
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("dead", [2, 3])
def test_a_dead_broker_is_not_connected_to_without_a_pause(topic: str, three: Brokers, dead: int) -> None:
    """Admin clients' questions to it made librdkafka 2.16 do so: 700 times a second, a core for each."""
    probe = BrokerProbe(topic)
    look = probe.look(timeout_s=5, closely=True)
    assert look is not None
    assert look.whole == {0, 1, 2}
    assert sorted(kafka_client.ends(timeout_s=5)) == [0, 1, 2]
    kept = dict(kafka_client.clients_of_brokers)
    assert probe.look(timeout_s=5, closely=True) == look
    # One that librdkafka turned to another broker meanwhile is made anew.
    assert kept.items() & kafka_client.clients_of_brokers.items(), "a look at a broker that answers is new"
    three.kill(dead)

    with connections_counted(three.ports[dead]) as connections:
        look = probe.look(timeout_s=5, closely=True)
        with suppress(KafkaException):  # it may still be named as a leader
            kafka_client.ends(timeout_s=2)
        asked = connections()

    assert look is not None
    assert not look.whole
    assert asked < 100
