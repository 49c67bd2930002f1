"""A client without a broker is lost after a while; a broker that answers now and then is there."""

from __future__ import annotations

from typing import cast

import pytest
from confluent_kafka import Consumer

from consumer import reach
from consumer.kafka import ClientLost
from consumer.reach import Reach
from tests.unit.fake_kafka import FakeConsumer


class Asked:
    def __init__(self) -> None:
        self.client = FakeConsumer([], stop=lambda: None)
        self.reach = Reach("t")

    def ask(self, times: int = 1, *, answered: bool) -> None:
        self.client.finds_a_broker = answered
        for _ in range(times):
            self.reach.ask(cast(Consumer, self.client))


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_EVERY_S", -1)


@pytest.mark.usefixtures("_at_once")
def test_a_client_that_nobody_answers_is_lost() -> None:
    asked = Asked()

    asked.ask(3, answered=False)
    with pytest.raises(ClientLost):
        asked.ask(answered=False)


@pytest.mark.usefixtures("_at_once")
def test_an_answer_begins_the_count_again() -> None:
    asked = Asked()

    for _ in range(3):
        asked.ask(3, answered=False)
        asked.ask(answered=True)

    assert asked.client.journal == ["ask"] * 12


def test_a_loop_that_turns_fast_asks_seldom() -> None:
    asked = Asked()

    asked.ask(1000, answered=False)

    assert asked.client.journal == []
