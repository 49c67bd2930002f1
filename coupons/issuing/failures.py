"""Events that can never succeed: their outcomes and dead letters, in the transaction that decides the rest.

A dead letter can always be stored, whatever its message holds: text is ASCII, values are cut, statements
bounded in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from coupons.eventlog.events import LAST_TIMESTAMP_MS, MAX_VALUE_BYTES
from coupons.eventlog.place import Place
from coupons.models import DeadLetter, IssueOutcome
from coupons.outcomes import DeadLetterReason, RequestStatus

_MOST_TEXT: Final = 255  #: characters of the columns detail and error
#: Our own keys have 26 bytes at most; of a longer one the beginning is enough for an operator.
_MOST_KEY_BYTES: Final = 1_000
#: A value that could be an event is kept whole; of a larger one the beginning is enough for an operator.
_MOST_VALUE_BYTES: Final = 4 * MAX_VALUE_BYTES
#: Escaping may double it: far below max_allowed_packet (16 MB in MariaDB, 4 MB at least by our own check).
#: More, and a server with a small packet refuses the letters for ever; fewer, and more statements.
_MOST_STATEMENT_BYTES: Final = 4 * _MOST_VALUE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedEvent:
    """A message that can never succeed, the reason, and the fields that could be read."""

    place: Place
    written_ms: int | None
    key: bytes | None
    value: bytes | None
    reason: DeadLetterReason
    error: str
    request_id: UUID | None = None
    user_id: int | None = None
    coupon_id: int | None = None
    requested_at_ms: int | None = None


def record(failed: Sequence[FailedEvent]) -> None:
    """Write the outcomes and letters that are not there yet, inside the deciding transaction."""
    if failed:
        _record_outcomes(failed)
        _record_letters(failed)


def _record_outcomes(failed: Sequence[FailedEvent]) -> None:
    outcomes: dict[UUID, IssueOutcome] = {}
    for each in failed:
        if each.request_id is not None:
            outcomes.setdefault(each.request_id, _outcome(each.request_id, each))
    if not outcomes:
        return
    decided = set(IssueOutcome.objects.filter(pk__in=outcomes).values_list("pk", flat=True))
    IssueOutcome.objects.bulk_create(
        outcome for request_id, outcome in sorted(outcomes.items()) if request_id not in decided
    )


def _record_letters(failed: Sequence[FailedEvent]) -> None:
    """Write the operator's letters: once per place in the log, however often the batch comes."""
    topic = settings.CONFIG.kafka.topic
    known = set(
        DeadLetter.objects.filter(
            original_topic=topic,
            original_partition__in={each.place.partition for each in failed},
            original_offset__in={each.place.offset for each in failed},
        ).values_list("original_partition", "original_offset", "original_timestamp_ms")
    )
    # The time is compared as well, because a topic that was made anew counts its offsets from 0 again.
    new = [each for each in failed if (*each.place, each.written_ms) not in known]
    for some in _in_statements([_letter(each, topic) for each in new]):
        DeadLetter.objects.bulk_create(some)


def _in_statements(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    some: list[DeadLetter] = []
    size = 0
    for letter in letters:
        size += len(letter.original_key or b"") + len(letter.original_value or b"")
        if some and size > _MOST_STATEMENT_BYTES:
            yield some
            some, size = [], len(letter.original_key or b"") + len(letter.original_value or b"")
        some.append(letter)
    if some:
        yield some


def _letter(failed: FailedEvent, topic: str) -> DeadLetter:
    return DeadLetter(
        reason=failed.reason.value,
        error=_text(failed.error),
        request_id=failed.request_id,
        original_topic=topic,
        original_partition=failed.place.partition,
        original_offset=failed.place.offset,
        original_timestamp_ms=failed.written_ms,
        original_key=None if failed.key is None else failed.key[:_MOST_KEY_BYTES],
        original_value=None if failed.value is None else failed.value[:_MOST_VALUE_BYTES],
    )


def _outcome(request_id: UUID, failed: FailedEvent) -> IssueOutcome:
    return IssueOutcome(
        request_id=request_id,
        coupon_id=failed.coupon_id,
        user_id=failed.user_id,
        status=RequestStatus.FAILED,
        reason=failed.reason.value,
        detail=_text(failed.error),
        requested_at=_moment(failed.requested_at_ms or failed.written_ms),
        processed_at=timezone.now(),
        kafka_partition=failed.place.partition,
        kafka_offset=failed.place.offset,
    )


def _text(error: str) -> str:
    """The text in ASCII, which every character set holds; other characters are escaped."""
    return error.encode("ascii", "backslashreplace").decode()[:_MOST_TEXT]


def _moment(epoch_ms: int | None) -> datetime:
    """The message's time. A message may state any time; now stands for one that no column holds."""
    if epoch_ms is None or not 0 <= epoch_ms <= LAST_TIMESTAMP_MS:
        return timezone.now()
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)
