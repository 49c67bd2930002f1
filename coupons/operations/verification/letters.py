"""Dead letters in the database: each FAILED has its row, each row says what there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from coupons.eventlog.events import LAST_TIMESTAMP_MS
from coupons.models import Coupon, DeadLetter, DeadLetterState, IssueOutcome
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.outcome_rows import to_ms
from coupons.outcomes import DeadLetterReason, RequestStatus

_SHOWN: Final = 20
#: Of an event that cannot be read, the message's own time is the only one there is.
_UNREADABLE: Final = [
    DeadLetterReason.NOT_JSON.value,
    DeadLetterReason.INVALID_FIELDS.value,
    DeadLetterReason.UNKNOWN_VERSION.value,
    DeadLetterReason.TOO_LARGE.value,
]


def check(coupon_id: int | None) -> Iterator[Finding]:
    """Of all dead letters, or of those outcomes that are known to be this coupon's."""
    failed = IssueOutcome.objects.filter(status=RequestStatus.FAILED, kafka_offset__isnull=False)
    if coupon_id is not None:
        failed = failed.filter(coupon_id=coupon_id)
    yield from _failed(failed)
    yield from _times(failed)
    if coupon_id is None:
        yield from _rows()
        yield from _unknown_requests()


def _letters_at() -> QuerySet[DeadLetter]:
    """Of the same request at the same place; the index on places serves it."""
    return DeadLetter.objects.filter(
        original_partition=OuterRef("kafka_partition"),
        original_offset=OuterRef("kafka_offset"),
        request_id=OuterRef("pk"),
    )


def _failed(failed: QuerySet[IssueOutcome]) -> Iterator[Finding]:
    """The transaction that writes FAILED writes the letter's row too; nothing of ours deletes one."""
    alone = failed.exclude(reason=DeadLetterReason.EVENT_LOST.value).filter(
        ~Exists(_letters_at().filter(reason=OuterRef("reason")))
    )
    for outcome in alone[:_SHOWN]:
        yield _finding(
            Check.FAILURE_HAS_LETTER,
            f"decided FAILED ({outcome.reason}) at partition {outcome.kafka_partition}, offset "
            f"{outcome.kafka_offset}, and no dead letter of that request, place and reason is kept",
            outcome.pk,
            outcome.coupon_id,
        )


def _times(failed: QuerySet[IssueOutcome]) -> Iterator[Finding]:
    timed = (
        failed.filter(reason__in=_UNREADABLE)
        .annotate(message_ms=Subquery(_letters_at().values("original_timestamp_ms")[:1]))
        .filter(message_ms__gte=0, message_ms__lte=LAST_TIMESTAMP_MS)
        .values_list("pk", "coupon_id", "requested_at", "message_ms")
    )
    for request_id, coupon_id, requested_at, message_ms in timed.iterator():
        if to_ms(requested_at) != message_ms:
            yield _finding(
                Check.LETTER_IS_WHOLE,
                f"the message is of {message_ms} (Unix ms), its outcome says requested at "
                f"{to_ms(requested_at)}",
                request_id,
                coupon_id,
            )


def _rows() -> Iterator[Finding]:
    states, reasons = list(DeadLetterState), list(DeadLetterReason)
    broken = DeadLetter.objects.exclude(
        Q(state__in=states, reason__in=reasons, original_partition__gte=0, original_offset__gte=0)
    )
    for letter in broken[:_SHOWN]:
        yield _finding(
            Check.LETTER_IS_WHOLE,
            f"dead letter {letter.pk}: state {letter.state}, reason {letter.reason}, partition "
            f"{letter.original_partition}, offset {letter.original_offset} do not go together",
            letter.request_id,
        )


def _unknown_requests() -> Iterator[Finding]:
    """Which request a letter is of: that one was told its end. A reset deletes outcomes, and says so."""
    if Coupon.objects.filter(reset_at__isnull=False).exists():
        return
    decided = IssueOutcome.objects.filter(pk=OuterRef("request_id"))
    for letter in DeadLetter.objects.filter(~Exists(decided), request_id__isnull=False)[:_SHOWN]:
        yield _finding(
            Check.LETTER_IS_WHOLE,
            f"dead letter {letter.pk} is of a request that has no outcome",
            letter.request_id,
        )


def _finding(check: Check, message: str, request_id: object, coupon_id: int | None = None) -> Finding:
    return Finding(
        check=check,
        message=message,
        coupon_id=coupon_id,
        request_id=None if request_id is None else str(request_id),
    )
