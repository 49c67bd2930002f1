"""Messages read as requests, or as dead letters where they can never be issued. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from confluent_kafka import Message

from consumer.dead_letters import DeadMessage
from consumer.kafka import headers_of, place, timestamp_ms
from coupons.eventlog.deferred import Original
from coupons.eventlog.events import SECOND_CHANCE_HEADER, IssueRequest, UndecodableEvent, decode
from coupons.eventlog.place import Place
from coupons.outcomes import DeadLetterReason

#: Errors of a value that no rule of ours foresaw.
UNREADABLE: Final = (OverflowError, ValueError)
Read = IssueRequest | DeadMessage


class Reader:
    """Reads batches, and remembers the one that it read ahead. For one thread."""

    def __init__(self) -> None:
        self._ahead: tuple[list[Message], list[Read]] = ([], [])

    def read_ahead(self, messages: Sequence[Message]) -> None:
        """Read the batch that comes next. It may still come smaller, or never."""
        events = [each for each in messages if each.error() is None]
        with suppress(*UNREADABLE):  # read again in its turn, when the error is the event's own
            self._ahead = events, [read(each) for each in events]

    def read(self, messages: Sequence[Message]) -> list[Read]:
        """Each message as it is read, in order."""
        ahead, found = self._ahead
        self._ahead = [], []
        # Messages are equal if they are the same object.
        return found if list(messages) == ahead else [read(each) for each in messages]


def read(message: Message) -> Read:
    value = message.value()
    try:
        event = decode(value.encode() if isinstance(value, str) else value)
    except UndecodableEvent as error:
        return DeadMessage(
            message=message,
            reason=error.reason,
            error=error.detail,
            request_id=error.request_id,
            user_id=error.user_id,
            coupon_id=error.coupon_id,
        )
    return IssueRequest(
        event=event,
        place=place(message),
        is_second_chance=SECOND_CHANCE_HEADER in headers_of(message),
    )


def as_letter(message: Message, *, reason: DeadLetterReason, error: str) -> DeadMessage:
    """The letter for an event that can be read and not be issued; what it cannot be read for else."""
    request = read(message)
    if isinstance(request, DeadMessage):
        return request
    event = request.event
    return DeadMessage(
        message=message,
        reason=reason,
        error=error,
        request_id=event.request_id,
        user_id=event.user_id,
        coupon_id=event.coupon_id,
        requested_at_ms=event.timestamp_ms,
    )


def originals(messages: Sequence[Message], places: Collection[Place]) -> Mapping[Place, Original]:
    """The messages at these places, as they are kept while they are deferred."""
    wanted = set(places)
    return {
        at: Original(
            key=_bytes(message.key()),
            value=_bytes(message.value()) or b"",
            written_ms=timestamp_ms(message),
            headers=headers_of(message),
        )
        for message in messages
        if (at := place(message)) in wanted
    }


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
