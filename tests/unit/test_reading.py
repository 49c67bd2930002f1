"""Messages read as requests: once, where a batch was read ahead, and anew where it is another one."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from consumer import reading
from consumer.dead_letters import DeadMessage
from consumer.reading import Reader
from coupons.eventlog.events import IssueRequest, encode
from coupons.outcomes import DeadLetterReason
from tests.factories import make_event
from tests.messages import ReceivedMessage


class Counted(ReceivedMessage):
    """Counts how often its value is read."""

    count = 0

    def value(self) -> bytes | None:
        self.count += 1
        return super().value()


def messages(*users: int) -> list[Any]:
    return [
        Counted(0, offset, value=encode(make_event(coupon_id=1, user_id=user)))
        for offset, user in enumerate(users)
    ]


def users(found: list[reading.Read]) -> list[int]:
    return [each.event.user_id for each in found if isinstance(each, IssueRequest)]


def test_a_batch_that_was_read_ahead_is_not_read_again() -> None:
    reader, batch = Reader(), messages(1, 2, 3)

    reader.read_ahead(batch)

    assert users(reader.read(list(batch))) == [1, 2, 3]
    assert [each.count for each in batch] == [1, 1, 1]


def test_a_batch_that_comes_smaller_than_it_was_read_ahead_is_read_as_it_comes() -> None:
    reader, batch = Reader(), messages(1, 2, 3)

    reader.read_ahead(batch)

    assert users(reader.read(batch[1:])) == [2, 3]


def test_the_same_place_in_another_topic_is_another_event() -> None:
    reader = Reader()
    reader.read_ahead(messages(1, 2))

    assert users(reader.read(messages(8, 9))) == [8, 9]


def test_a_list_that_grows_after_it_was_read_ahead_is_read_to_its_end() -> None:
    reader, batch = Reader(), messages(1, 2)
    reader.read_ahead(batch)

    batch += messages(3)

    assert users(reader.read(batch)) == [1, 2, 3]


def test_what_is_no_message_is_left_out() -> None:
    reader, batch = Reader(), messages(1, 2)
    end: Any = ReceivedMessage(0, 2, error=KafkaError(KafkaError._PARTITION_EOF))

    reader.read_ahead([*batch, end])

    assert users(reader.read(batch)) == [1, 2]
    assert [each.count for each in batch] == [1, 1]


def test_an_error_nobody_foresaw_is_raised_in_the_events_own_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(value: bytes) -> None:
        raise ValueError("for the test")

    reader, batch = Reader(), messages(1)
    monkeypatch.setattr(reading, "decode", fail)

    reader.read_ahead(batch)

    with pytest.raises(ValueError, match="for the test"):
        reader.read(batch)


def test_what_can_never_be_issued_is_a_letter() -> None:
    broken: Any = ReceivedMessage(0, 0, value=b"broken")

    [letter] = Reader().read([broken])

    assert isinstance(letter, DeadMessage)
    assert letter.reason is DeadLetterReason.NOT_JSON
    assert reading.as_letter(broken, reason=DeadLetterReason.UNSTORABLE, error="").reason is letter.reason
