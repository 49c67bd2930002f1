"""A received Kafka message, made without a broker."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError

from coupons.eventlog.events import IssueRequest, encode, partition_key


class ReceivedMessage:
    """As much of confluent_kafka's Message as the consumer looks at."""

    def __init__(
        self,
        partition: int,
        offset: int,
        *,
        key: bytes | None = None,
        value: bytes | None = None,
        timestamp_ms: int = 1_700_000_000_000,
        error: KafkaError | None = None,
        headers: list[tuple[str, bytes]] | Exception | None = None,
    ) -> None:
        self._place = partition, offset
        self._key = key
        self._value = value
        self._timestamp_ms = timestamp_ms
        self._error = error
        self._headers = headers

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]] | None:
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 1, self._timestamp_ms

    def error(self) -> KafkaError | None:
        return self._error

    def __repr__(self) -> str:
        return f"{self._place[0]}:{self._place[1]}"


def received(requests: Sequence[IssueRequest]) -> list[ReceivedMessage]:
    """The messages that carry these requests."""
    return [
        ReceivedMessage(
            *request.place,
            key=partition_key(request.event.coupon_id),
            value=encode(request.event),
        )
        for request in requests
    ]
