"""What a batch's processor takes for granted of wherever the batch comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from confluent_kafka import Message

from consumer.partitions import PlaceInTopic
from coupons.eventlog.positions import Advance


class Source(Protocol):
    """Where a batch comes from: our partitions of the log, or a coupon's deferred events.

    ``resumed``: the coupon whose deferred events these are; None for the log.
    """

    @property
    def resumed(self) -> int | None: ...

    def place_of(self, message: Message) -> PlaceInTopic: ...

    def advances(self, messages: Iterable[Message]) -> list[Advance]: ...

    def advanced(self, advances: Sequence[Advance]) -> None: ...
