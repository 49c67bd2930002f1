"""An offset commit ends: with an answer, with an error, or with the process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer import committing
from consumer.committing import Committing

OFFSETS = [TopicPartition("t", 0, 7)]


class Client:
    """Answers commits one after the other: with success (None), an error, or never (an Event)."""

    def __init__(self, *answers: KafkaException | threading.Event | None) -> None:
        self._answers = list(answers)
        self.committed: list[int] = []

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        assert not asynchronous
        answer = self._answers.pop(0)
        if isinstance(answer, threading.Event):
            answer.wait(10)
        elif answer is not None:
            raise answer
        self.committed += [each.offset for each in offsets]


def committing_of(client: Client) -> Committing:
    return Committing(cast(Consumer, client))


def test_a_commit_returns_when_the_broker_has_it() -> None:
    client = Client(None)

    committing_of(client).commit(OFFSETS)

    assert client.committed == [7]


def test_an_error_is_the_callers_and_the_next_commit_is_made_all_the_same() -> None:
    client = Client(KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION)), None)
    own = committing_of(client)

    with pytest.raises(KafkaException):
        own.commit(OFFSETS)
    own.commit(OFFSETS)

    assert client.committed == [7]


def test_a_client_that_never_answers_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(committing, "_PATIENCE_S", 0.05)
    monkeypatch.setattr("os._exit", ended.append)
    never = threading.Event()

    committing_of(Client(never)).commit(OFFSETS)

    assert ended == [1]
    never.set()
