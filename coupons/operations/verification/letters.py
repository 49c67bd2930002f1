"""Dead letters in the database: each outcome FAILED has its letter, and each letter is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from coupons.eventlog.events import LAST_TIMESTAMP_MS
from coupons.models import Coupon, DeadLetter, DeadLetterState, IssueOutcome
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.operations.verification.outcome_rows import to_ms
from coupons.outcomes import DeadLetterReason, RequestStatus
from runtime.operator_language import say

_SHOWN: Final = 20  #: findings of one kind that are listed one by one
#: An event that cannot be read has no other time than its message's.
_UNREADABLE: Final = [
    DeadLetterReason.NOT_JSON.value,
    DeadLetterReason.INVALID_FIELDS.value,
    DeadLetterReason.UNKNOWN_VERSION.value,
    DeadLetterReason.TOO_LARGE.value,
]


def check(coupon_id: int | None) -> Iterator[Finding]:
    """Check all dead letters, or those of outcomes that are known to be this coupon's."""
    failed = IssueOutcome.objects.filter(status=RequestStatus.FAILED, kafka_offset__isnull=False)
    if coupon_id is not None:
        failed = failed.filter(coupon_id=coupon_id)
    yield from _failed(failed)
    yield from _times(failed)
    if coupon_id is None:
        yield from _rows()
        yield from _unknown_requests()


def _letters_at() -> QuerySet[DeadLetter]:
    """The letters of the same request at the same place; the index on places serves the query."""
    return DeadLetter.objects.filter(
        original_partition=OuterRef("kafka_partition"),
        original_offset=OuterRef("kafka_offset"),
        request_id=OuterRef("pk"),
    )


def _failed(failed: QuerySet[IssueOutcome]) -> Iterator[Finding]:
    """Outcomes FAILED without a letter: one transaction writes both, and no code of ours deletes letters."""
    alone = failed.exclude(reason=DeadLetterReason.EVENT_LOST.value).filter(
        ~Exists(_letters_at().filter(reason=OuterRef("reason")))
    )
    for outcome in alone[:_SHOWN]:
        yield finding(
            Check.FAILURE_HAS_LETTER,
            outcome.coupon_id,
            say(
                "decided FAILED ({reason}) at partition {kafka_partition}, offset "
                "{kafka_offset}, and no dead letter of that request, place and reason is kept",
                reason=outcome.reason,
                kafka_partition=outcome.kafka_partition,
                kafka_offset=outcome.kafka_offset,
            ),
            outcome.pk,
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
            yield finding(
                Check.LETTER_IS_WHOLE,
                coupon_id,
                say(
                    "the message is of {message_ms} (Unix ms), its outcome says requested at {requested_ms}",
                    message_ms=message_ms,
                    requested_ms=to_ms(requested_at),
                ),
                request_id,
            )


def _rows() -> Iterator[Finding]:
    states, reasons = list(DeadLetterState), list(DeadLetterReason)
    broken = DeadLetter.objects.exclude(
        Q(state__in=states, reason__in=reasons, original_partition__gte=0, original_offset__gte=0)
    )
    for letter in broken[:_SHOWN]:
        yield finding(
            Check.LETTER_IS_WHOLE,
            None,
            say(
                "dead letter {pk}: state {state}, reason {reason}, partition "
                "{original_partition}, offset {original_offset} do not go together",
                pk=letter.pk,
                state=letter.state,
                reason=letter.reason,
                original_partition=letter.original_partition,
                original_offset=letter.original_offset,
            ),
            letter.request_id,
        )


def _unknown_requests() -> Iterator[Finding]:
    """Letters whose request has no outcome. After a reset, which deletes outcomes, none is looked for."""
    if Coupon.objects.filter(reset_at__isnull=False).exists():
        return
    decided = IssueOutcome.objects.filter(pk=OuterRef("request_id"))
    for letter in DeadLetter.objects.filter(~Exists(decided), request_id__isnull=False)[:_SHOWN]:
        yield finding(
            Check.LETTER_IS_WHOLE,
            None,
            say("dead letter {pk} is of a request that has no outcome", pk=letter.pk),
            letter.request_id,
        )
