"""Events that can never succeed: moved to the dead letters, acknowledged, and told as FAILED."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from confluent_kafka import Message
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from consumer.kafka import headers_of, place, timestamp_ms
from coupons import models
from coupons.delivery import Acknowledged, Record
from coupons.events import LAST_TIMESTAMP_MS
from coupons.models import IssueOutcome
from coupons.outcomes import DeadLetterReason, RequestStatus
from coupons.producer import EventProducer
from couponsite import metrics

log = logging.getLogger(__name__)

_MOST_BYTES: Final = 900_000  #: of key, value and headers; a topic takes 1,048,588 unless told otherwise
_MOST_KEY_BYTES: Final = 10_000
_MOST_VALUE_BYTES: Final = 800_000


class DeadLettersNotAcknowledged(RuntimeError):
    """The broker did not take the dead letters; the batch is tried again."""


class TooManyDeadLetters(RuntimeError):
    """Something is wrong with all events, not with one: the consumer stands still and says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that can never succeed, why, and what of it could be read."""

    message: Message
    reason: DeadLetterReason
    error: str
    event_id: UUID | None = None
    user_id: int | None = None
    coupon_id: int | None = None
    requested_at_ms: int | None = None


def move(letters: Sequence[DeadLetter], *, producer: EventProducer) -> None:
    """Publish to the dead letter topic, wait for the broker, then record the outcomes.

    A redelivered batch may publish a letter twice; its outcome is recorded once.
    """
    receipts = producer.publish([_record(letter) for letter in letters])
    failed = [receipt for receipt in receipts if not isinstance(receipt, Acknowledged)]
    if failed:
        raise DeadLettersNotAcknowledged(
            f"{len(failed)} of {len(receipts)} dead letters not acknowledged: {failed[0].error} "
            f"(is there a topic {settings.CONFIG.kafka.dead_letter_topic}? manage.py create_topics makes it)"
        )
    with transaction.atomic(durable=True):
        _record_outcomes(letters)
        _record_letters(letters)
    for letter in letters:
        metrics.DEAD_LETTERS.labels(reason=letter.reason.value).inc()
        partition, offset = place(letter.message)
        log.error(
            "dead letter - Partition: %s, Offset: %s, EventId: %s, Reason: %s, %s",
            partition,
            offset,
            letter.event_id,
            letter.reason,
            letter.error,
        )


def _record(letter: DeadLetter) -> Record:
    """The original key, value and headers, and where it came from. Never the partition number as target."""
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
    """What the dead letter keeps of a message. ``value_bytes``: the value's size where it was cut."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    value_bytes: int | None = None


def _kept(message: Message) -> _Kept:
    """All of it, unless a broker at its defaults would refuse the letter: such a value can be no event.

    A letter that is refused for its size would be tried again for ever.
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


def _record_outcomes(letters: Sequence[DeadLetter]) -> None:
    outcomes: dict[UUID, IssueOutcome] = {}
    for letter in letters:
        if letter.event_id is not None:
            outcomes.setdefault(letter.event_id, _outcome(letter.event_id, letter))
    if not outcomes:
        return
    decided = set(IssueOutcome.objects.filter(pk__in=outcomes).values_list("pk", flat=True))
    IssueOutcome.objects.bulk_create(
        outcome for event_id, outcome in sorted(outcomes.items()) if event_id not in decided
    )


def _record_letters(letters: Sequence[DeadLetter]) -> None:
    """For the operator: once per place in the log, however often the batch comes."""
    topic = settings.CONFIG.kafka.topic
    places = [place(letter.message) for letter in letters]
    known = set(
        models.DeadLetter.objects.filter(
            original_topic=topic,
            original_partition__in={partition for partition, _ in places},
            original_offset__in={offset for _, offset in places},
        ).values_list("original_partition", "original_offset", "original_timestamp_ms")
    )
    models.DeadLetter.objects.bulk_create(
        models.DeadLetter(
            reason=letter.reason.value,
            error=letter.error[:255],
            request_id=letter.event_id,
            original_topic=topic,
            original_partition=partition,
            original_offset=offset,
            original_timestamp_ms=timestamp_ms(letter.message),
            original_key=_bytes(letter.message.key()),
            original_value=_bytes(letter.message.value()),
        )
        for letter, (partition, offset) in zip(letters, places, strict=True)
        # The time as well: a topic that was made anew counts its offsets from 0 again.
        if (partition, offset, timestamp_ms(letter.message)) not in known
    )


def _outcome(event_id: UUID, letter: DeadLetter) -> IssueOutcome:
    partition, offset = place(letter.message)
    requested_at_ms = letter.requested_at_ms or timestamp_ms(letter.message)
    return IssueOutcome(
        request_id=event_id,
        coupon_id=letter.coupon_id,
        user_id=letter.user_id,
        status=RequestStatus.FAILED,
        reason=letter.reason.value,
        detail=letter.error[:255],
        requested_at=_moment(requested_at_ms),
        processed_at=timezone.now(),
        kafka_partition=partition,
        kafka_offset=offset,
    )


def _moment(epoch_ms: int | None) -> datetime:
    """A message may claim any time at all; one that no column holds counts as now."""
    if epoch_ms is None or not 0 <= epoch_ms <= LAST_TIMESTAMP_MS:
        return timezone.now()
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)
