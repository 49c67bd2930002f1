"""The admin client of a process: one, until it hears nothing for too long."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from django.conf import settings

from coupons.eventlog import kafka_client


class _Client:
    """Answers with ``error``: whose broker was frozen waits for a controller for ever."""

    made: int = 0
    asked: int = 0
    error: KafkaError | None = KafkaError(KafkaError._TIMED_OUT)

    def __init__(self, configuration: object) -> None:
        type(self).made += 1

    def list_topics(self, topic: str, *, timeout: float) -> SimpleNamespace:
        return SimpleNamespace(controller_id=1, brokers={1: SimpleNamespace(id=1)})

    def describe_topics(self, topics: Any, *, request_timeout: float) -> dict[str, Future[Any]]:
        type(self).asked += 1
        asked: Future[Any] = Future()
        if self.error is None:
            asked.set_result(SimpleNamespace(topic_id="of-the-topic"))
        else:
            asked.set_exception(KafkaException(self.error))
        return {settings.CONFIG.kafka.topic: asked}


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Client]]:
    class Clients(_Client):
        pass

    monkeypatch.setattr(kafka_client, "AdminClient", Clients)
    monkeypatch.setattr(kafka_client, "answers", lambda broker, *, timeout_s: True)
    monkeypatch.setattr(kafka_client, "SILENT_S", 1000.0)
    kafka_client.forget_admin()
    yield Clients
    kafka_client.forget_admin()


def _ask() -> str:
    try:
        return kafka_client.topic_id(timeout_s=1.0)
    except KafkaException as error:
        return str(error.args[0].name())


def test_one_that_is_silent_for_too_long_is_made_anew(
    clients: type[_Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [_ask(), _ask()] == ["_TIMED_OUT", "_TIMED_OUT"]
    assert clients.made == 1, "one silence may be the broker's"

    monkeypatch.setattr(kafka_client, "SILENT_S", 0.0)
    clients.error = None

    assert _ask() == "of-the-topic"
    assert clients.made == 2
    assert [_ask(), clients.made] == ["of-the-topic", 2]


def test_one_that_is_answered_stays(clients: type[_Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_client, "SILENT_S", 0.0)
    clients.error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)

    assert [_ask() for _ in range(3)] == ["TOPIC_AUTHORIZATION_FAILED"] * 3
    assert clients.made == 1, "a refusal is an answer"


def test_after_a_silence_a_controller_that_is_dead_is_not_waited_for(
    clients: type[_Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka would connect to it without a pause meanwhile, which takes a core."""
    monkeypatch.setattr(kafka_client, "answers", lambda broker, *, timeout_s: False)

    assert [_ask() for _ in range(3)] == ["_TIMED_OUT"] * 3
    assert clients.asked == 1

    monkeypatch.setattr(kafka_client, "answers", lambda broker, *, timeout_s: True)
    clients.error = None
    assert _ask() == "of-the-topic"


def test_once_in_a_while_it_is_asked_whatever_is_thought_of_the_controller(
    clients: type[_Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the controller may fail for as long as connecting to it takes longer than the look."""
    monkeypatch.setattr(kafka_client, "answers", lambda broker, *, timeout_s: False)
    assert [_ask(), _ask()] == ["_TIMED_OUT"] * 2
    clients.error = None
    assert _ask() == "_TIMED_OUT"

    monkeypatch.setattr(kafka_client, "SILENT_S", 0.0)

    assert [_ask(), _ask()] == ["of-the-topic"] * 2


class _OfOne:
    """A client made for broker 1. ``answering``: who answers it later, None: nobody, not even at first."""

    made: int = 0
    answering: int | None = 1

    def __init__(self, configuration: dict[str, Any]) -> None:
        type(self).made += 1
        self.is_new = True

    def poll(self, timeout: float) -> int:
        return 0

    def list_topics(self, topic: str, *, timeout: float) -> SimpleNamespace:
        if self.answering is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        # A new client knows nobody's id before it is answered.
        answering, self.is_new = -1 if self.is_new else self.answering, False
        return SimpleNamespace(orig_broker_id=answering, brokers={1: None, 2: None})


@pytest.fixture
def of_one(monkeypatch: pytest.MonkeyPatch) -> type[_OfOne]:
    class Clients(_OfOne):
        pass

    monkeypatch.setattr(kafka_client, "Producer", Clients)
    monkeypatch.setattr(kafka_client, "clients_of_brokers", {})
    return Clients


def _answers(port: int = 9092) -> bool:
    broker: Any = SimpleNamespace(id=1, host="::1", port=port)
    return kafka_client.answers(broker, timeout_s=1.0)


def test_a_broker_that_answers_keeps_its_client(of_one: type[_OfOne]) -> None:
    assert [_answers() for _ in range(3)] == [True] * 3
    assert of_one.made == 1
    assert _answers(9093)
    assert of_one.made == 2


def test_a_client_that_turned_to_another_broker_proves_nothing(of_one: type[_OfOne]) -> None:
    assert _answers()
    of_one.answering = 2
    assert [_answers(), _answers()] == [True, True]
    assert of_one.made == 3, "a new one each time, which knows no other broker"

    of_one.answering = None
    assert not _answers()
    assert of_one.made == 4
    of_one.answering = 1
    assert [_answers(), _answers()] == [True, True]
    assert of_one.made == 5


def test_a_broker_that_is_dead_has_no_client(of_one: type[_OfOne]) -> None:
    of_one.answering = None
    assert not _answers()
    assert kafka_client.clients_of_brokers == {}
