"""Offsets on their way to the broker: sent without waiting, and again where the broker did not take them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer import committing
from consumer.committing import Committing
from consumer.kafka import ClientLost

REFUSED = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)


class Client:
    """Takes commits; the test answers."""

    def __init__(self) -> None:
        self.sent: list[dict[int, int]] = []
        self.is_closed = False
        self.is_away = False
        self.asked = 0

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        if self.is_closed:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sent.append({each.partition: each.offset for each in offsets})

    def list_topics(self, topic: str, timeout: float) -> None:
        self.asked += 1
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


class Sent:
    """Partitions 0 and 1 are ours."""

    def __init__(self) -> None:
        self.client = Client()
        self.committing = Committing("t")
        self.committing.own({0, 1})

    def send(self, offsets: dict[int, int] | None = None, *, is_last: bool = False) -> None:
        self.committing.decided(offsets or {})
        self.committing.send(cast(Consumer, self.client), is_last=is_last)

    def answer(self, offsets: dict[int, int], error: KafkaError | None = None) -> None:
        self.committing.answered(error, [TopicPartition("t", *each) for each in offsets.items()])

    @property
    def offsets(self) -> list[dict[int, int]]:
        return self.client.sent


def test_what_is_decided_is_sent_once() -> None:
    sent = Sent()

    sent.send({0: 7})
    sent.answer({0: 7})
    sent.send()

    assert sent.offsets == [{0: 7}]


def test_one_is_under_way_at_a_time_and_the_next_has_the_newest() -> None:
    sent = Sent()

    sent.send({0: 7})
    sent.send({0: 8})
    sent.send({0: 9, 1: 1})
    sent.answer({0: 7})
    sent.send()

    assert sent.offsets == [{0: 7}, {0: 9, 1: 1}]


def test_the_last_is_sent_though_one_is_under_way() -> None:
    sent = Sent()

    sent.send({0: 7})
    sent.send({0: 8}, is_last=True)

    assert sent.offsets == [{0: 7}, {0: 8}]


def test_what_was_refused_is_sent_again_but_never_an_older_offset() -> None:
    sent = Sent()

    sent.send({0: 7, 1: 3})
    sent.send({0: 8})
    sent.answer({0: 7, 1: 3}, REFUSED)
    sent.send()

    assert sent.offsets[1:] == [{0: 8, 1: 3}]


def test_a_refusal_of_one_partition_is_a_refusal() -> None:
    sent = Sent()
    refused = cast(TopicPartition, SimpleNamespace(partition=1, offset=3, error=REFUSED))

    sent.send({0: 7, 1: 3})
    sent.committing.answered(None, [TopicPartition("t", 0, 7), refused])
    sent.send()

    assert sent.offsets[1:] == [{0: 7, 1: 3}]


def test_what_the_client_does_not_take_is_sent_again() -> None:
    sent = Sent()

    sent.client.is_closed = True
    sent.send({0: 7})
    sent.client.is_closed = False
    sent.send()

    assert sent.offsets == [{0: 7}]


def test_a_partition_that_is_not_ours_any_more_is_not_sent() -> None:
    sent = Sent()

    sent.send({0: 7})
    sent.committing.decided({0: 8, 1: 3})
    sent.committing.own({1})
    sent.answer({0: 7}, REFUSED)
    sent.send()

    assert sent.offsets[1:] == [{1: 3}]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_PATIENCE_S", -1)


@pytest.mark.usefixtures("_impatient")
def test_a_lost_commit_is_a_lost_client() -> None:
    sent = Sent()

    sent.send({0: 7})
    sent.send()
    with pytest.raises(ClientLost):
        sent.send()


@pytest.mark.usefixtures("_impatient")
def test_a_broker_that_is_away_is_waited_for() -> None:
    sent = Sent()

    sent.send({0: 7})
    sent.send()
    sent.client.is_away = True
    sent.send()
    sent.client.is_away = False
    sent.send()
    sent.answer({0: 7}, REFUSED)
    sent.send()

    assert sent.offsets == [{0: 7}, {0: 7}]


def test_before_its_time_nobody_is_asked() -> None:
    sent = Sent()

    for _ in range(4):
        sent.send({0: 7})

    assert sent.client.asked == 0


@pytest.mark.usefixtures("_impatient")
def test_the_last_is_sent_and_asks_nothing() -> None:
    sent = Sent()

    for offset in range(4):
        sent.send({0: offset}, is_last=True)

    assert (sent.client.asked, len(sent.offsets)) == (0, 4)
