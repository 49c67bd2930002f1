"""Events that can never succeed: published to the dead letters before they are decided as FAILED."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from confluent_kafka import Message
from django.conf import settings
from django.utils import timezone

from consumer.kafka import headers_of, place, timestamp_ms
from coupons.claim import Claim
from coupons.eventlog.delivery import Acknowledged, Record
from coupons.eventlog.producer import EventProducer
from coupons.issuing.failures import FailedEvent
from coupons.outcomes import DeadLetterReason
from runtime import metrics

log = logging.getLogger(__name__)

#: Of key, value and headers. A topic takes 1,048,588 bytes by default, and a letter adds headers of its own;
#: more, and the broker refuses the letter for ever.
_MOST_BYTES: Final = 900_000
_MOST_KEY_BYTES: Final = 10_000  #: of a larger message; with its value's, well below _MOST_BYTES
_MOST_VALUE_BYTES: Final = 800_000


class DeadLettersNotAcknowledged(RuntimeError):
    """The broker did not take the dead letters; the batch is tried again."""


class TooManyDeadLetters(RuntimeError):
    """All events fail, not one: the consumer stands still, and readiness is DOWN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMessage:
    """A message that can never succeed, the reason, and the fields that could be read."""

    message: Message
    reason: DeadLetterReason
    error: str
    request_id: UUID | None = None
    user_id: int | None = None
    coupon_id: int | None = None
    requested_at_ms: int | None = None

    @property
    def claim(self) -> Claim | None:
        """The claim, if all of its fields could be read."""
        if self.coupon_id is None or self.user_id is None or self.request_id is None:
            return None
        return Claim(coupon_id=self.coupon_id, user_id=self.user_id, request_id=self.request_id)

    def as_failed(self) -> FailedEvent:
        """The message as the database keeps it."""
        return FailedEvent(
            place=place(self.message),
            written_ms=timestamp_ms(self.message),
            key=_bytes(self.message.key()),
            value=_bytes(self.message.value()),
            reason=self.reason,
            error=self.error,
            request_id=self.request_id,
            user_id=self.user_id,
            coupon_id=self.coupon_id,
            requested_at_ms=self.requested_at_ms,
        )


def publish(letters: Sequence[DeadMessage], *, producer: EventProducer) -> None:
    """Publish to the dead letter topic and wait for the broker. Raises DeadLettersNotAcknowledged."""
    receipts = producer.publish([_record(letter) for letter in letters])
    failed = [receipt for receipt in receipts if not isinstance(receipt, Acknowledged)]
    if failed:
        raise DeadLettersNotAcknowledged(
            f"{len(failed)} of {len(receipts)} dead letters not acknowledged: {failed[0].error} "
            f"(is there a topic {settings.CONFIG.kafka.dead_letter_topic}? manage.py create_topics makes it)"
        )


def report(letters: Sequence[DeadMessage]) -> None:
    """Count and log these letters, once they are decided."""
    for letter in letters:
        metrics.DEAD_LETTERS.labels(reason=letter.reason.value).inc()
        partition, offset = place(letter.message)
        log.error(
            "dead letter - Partition: %s, Offset: %s, EventId: %s, Reason: %s, %s",
            partition,
            offset,
            letter.request_id,
            letter.reason.value,
            letter.error,
        )


def _record(letter: DeadMessage) -> Record:
    """The letter: original key, value and headers, and its place. No partition: the topic may have fewer."""
    partition, offset = place(letter.message)
    written_ms = timestamp_ms(letter.message)
    added = {
        "reason": letter.reason.value,
        "error": letter.error,
        "original-topic": letter.message.topic() or "",
        "original-partition": str(partition),
        "original-offset": str(offset),
        "original-timestamp": "" if written_ms is None else str(written_ms),
        "failed-at": timezone.now().isoformat(),
    }
    kept = _kept(letter.message)
    if kept.value_bytes is not None:
        added["truncated-from-bytes"] = str(kept.value_bytes)
    original = [(name, value) for name, value in kept.headers.items() if name not in added]
    return Record(
        topic=settings.CONFIG.kafka.dead_letter_topic,
        key=kept.key,
        value=kept.value,
        headers=[*original, *((name, value.encode()) for name, value in added.items())],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The parts of a message that its dead letter keeps. ``value_bytes``: the value's size if it was cut."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    value_bytes: int | None = None


def _kept(message: Message) -> _Kept:
    """The whole message, unless a broker at its defaults would refuse the letter: retries would never end.

    Nothing is lost by cutting: a value of that size is no event.
    """
    key, value, headers = _bytes(message.key()), _bytes(message.value()), headers_of(message)
    others = len(key or b"") + sum(len(name) + len(each) for name, each in headers.items())
    size = len(value or b"")
    if others + size <= _MOST_BYTES:
        return _Kept(key=key, value=value, headers=headers)
    cut = key[:_MOST_KEY_BYTES] if key is not None else None
    return _Kept(key=cut, value=value[:_MOST_VALUE_BYTES] if value else value, headers={}, value_bytes=size)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
