"""A client without a broker, or that gives nothing of what there is, is lost after a while."""

from __future__ import annotations

from typing import cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer import broker_watch
from consumer.broker_watch import BrokerWatch
from consumer.kafka import ClientLost
from tests.unit.fake_kafka import FakeConsumer


class Asked:
    """Stands in for the monotonic clock too; asks every four seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, session_timeout_s: float = 10) -> None:
        self.now = 1000.0
        self.said: bool | None = None
        monkeypatch.setattr(broker_watch, "time", self)
        self.client = FakeConsumer([], stop=lambda: None)
        self.reach = BrokerWatch("t", session_timeout_s=session_timeout_s)

    def monotonic(self) -> float:
        return self.now

    def ask(self, times: int = 1, *, answered: bool, every_s: float = 4) -> None:
        self.client.finds_a_broker = answered
        for _ in range(times):
            self.now += every_s
            self.said = self.reach.ask(cast(Consumer, self.client), [TopicPartition("t", 0, 7)])


def test_a_client_that_nobody_answers_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)

    asked.ask(3, answered=False)
    with pytest.raises(ClientLost):
        asked.ask(answered=False)


def test_while_the_group_may_keep_our_partitions_the_client_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, session_timeout_s=45)

    asked.ask(12, answered=False)
    with pytest.raises(ClientLost):
        asked.ask(answered=False)


def test_an_answer_begins_the_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)

    for _ in range(3):
        asked.ask(3, answered=False)
        asked.ask(answered=True)

    assert asked.client.journal == ["ask"] * 12


def test_a_message_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)

    for _ in range(3):
        asked.ask(3, answered=False)
        asked.reach.answered()

    assert asked.client.journal == ["ask"] * 9


def test_a_loop_that_turns_fast_asks_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)

    asked.ask(1000, answered=True, every_s=0.01)

    assert asked.client.journal == ["ask"] * 3


def test_a_client_that_gives_nothing_of_what_there_is_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    asked.client.beyond = 2

    asked.ask(3, answered=True)
    assert asked.said is True
    with pytest.raises(ClientLost, match="undecided"):
        asked.ask(answered=True)


def test_a_client_at_the_logs_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)

    for beyond in (2, 2, 0) * 3:
        asked.client.beyond = beyond
        asked.ask(answered=True)

    assert asked.said is False
