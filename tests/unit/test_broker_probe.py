"""A look at the brokers, told by a client that is not there."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from coupons.eventlog import broker_probe
from coupons.eventlog.broker_probe import BrokerProbe, Look

TRANSPORT = KafkaException(KafkaError(KafkaError._TRANSPORT))


class Client:
    """Its first ``failures`` questions fail at once, as when the broker that was asked dies."""

    def __init__(self, failures: float) -> None:
        self.failures, self.asked = failures, 0

    def list_topics(self, topic: str, *, timeout: float) -> SimpleNamespace:
        self.asked += 1
        if self.asked <= self.failures:
            raise TRANSPORT
        partition = SimpleNamespace(leader=2, isrs=[2, 3], replicas=[1, 2, 3])
        described = SimpleNamespace(error=None, partitions={0: partition})
        return SimpleNamespace(brokers={2: None, 3: None}, topics={topic: described})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Client], Look | None]:
    def look(client: Client) -> Look | None:
        monkeypatch.setattr(broker_probe, "AdminClient", lambda _: client)
        return BrokerProbe("events").look(timeout_s=0.5, closely=False)

    return look


def test_a_broker_that_dies_while_it_is_asked_leaves_the_others_to_be_asked(
    looks: Callable[[Client], Look | None],
) -> None:
    """Else all claims would be refused although two brokers are there."""
    assert looks(Client(failures=2)) == Look(brokers=(2, 3), partitions={0: True}, whole=frozenset({0}))


def test_brokers_that_never_answer_are_silent(looks: Callable[[Client], Look | None]) -> None:
    client = Client(failures=float("inf"))

    assert looks(client) is None
    assert client.asked > 1
