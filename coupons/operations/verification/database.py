"""Checks of the database alone, coupon by coupon. Each check is one query that an index serves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery

from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.outcomes import Code, DeadLetterReason, Decision, RequestStatus
from runtime.operator_language import say

_SHOWN: Final = 20  #: findings of one kind and coupon that are listed one by one
_REJECTIONS: Final = [d.value for d in Decision if d.is_rejection]
_FAILURES: Final = [reason.value for reason in DeadLetterReason]
#: One transaction writes both moments, and they are equal; but a table that was taken over may keep seconds
#: only.
_SAME_MOMENT: Final = timedelta(seconds=1)


def check(coupon: Coupon) -> Iterator[Finding]:
    """Everything wrong with one coupon's rows."""
    yield from _stock(coupon)
    yield from _claims(coupon)
    yield from _winners(coupon)
    yield from _moments(coupon)
    yield from whole(IssueOutcome.objects.filter(coupon_id=coupon.pk))


def _outcomes(coupon: Coupon) -> QuerySet[IssueOutcome]:
    """The outcomes of this very row, because a coupon that was made anew under its id begins with none.

    Outcomes without a row, which the consumer did not decide, are included. No clocks are compared.
    """
    return IssueOutcome.objects.filter(
        Q(coupon_epoch=int(coupon.epoch)) | Q(coupon_epoch__isnull=True), coupon_id=coupon.pk
    )


def _stock(coupon: Coupon) -> Iterator[Finding]:
    if coupon.stock < 0:
        yield finding(Check.STOCK_NOT_NEGATIVE, coupon.pk, say("stock is {stock}", stock=coupon.stock))


def _claims(coupon: Coupon) -> Iterator[Finding]:
    twice = (
        UserCoupon.objects.filter(coupon_id=coupon.pk)
        .values("user_id")
        .annotate(held=Count("pk"))
        .filter(held__gt=1)
    )
    for row in twice[:_SHOWN]:
        yield finding(
            Check.ONE_CLAIM_PER_USER,
            coupon.pk,
            say("user {user_id} has the coupon {held} times", user_id=row["user_id"], held=row["held"]),
        )


def _winners(coupon: Coupon) -> Iterator[Finding]:
    issued = _outcomes(coupon).filter(status=RequestStatus.ISSUED, coupon_epoch__isnull=False)
    ranks = issued.aggregate(
        count=Count("pk"),
        distinct=Count("claim_rank", distinct=True),
        low=Min("claim_rank"),
        high=Max("claim_rank"),
    )
    issued_here = coupon.issued_count - coupon.adopted_count
    if ranks["count"] != issued_here:
        yield finding(
            Check.ISSUED_COUNT,
            coupon.pk,
            say(
                "issued_count is {issued_count}, outcomes say {count} were issued",
                issued_count=coupon.issued_count,
                count=ranks["count"],
            )
            + (
                say(", and {adopted_count} are not here", adopted_count=coupon.adopted_count)
                if coupon.adopted_count
                else ""
            ),
        )
    if ranks["count"] and (ranks["low"], ranks["high"], ranks["distinct"]) != (
        coupon.adopted_count + 1,
        coupon.adopted_count + ranks["count"],
        ranks["count"],
    ):
        yield finding(
            Check.RANKS_WITHOUT_GAPS,
            coupon.pk,
            say(
                "{count} winners have {distinct} ranks from {low} to {high}",
                count=ranks["count"],
                distinct=ranks["distinct"],
                low=ranks["low"],
                high=ranks["high"],
            ),
        )
    theirs = UserCoupon.objects.filter(
        pk=OuterRef("user_coupon_id"),
        coupon_id=coupon.pk,
        user_id=OuterRef("user_id"),
        request_id=OuterRef("request_id"),
    )
    for outcome in issued.filter(~Exists(theirs))[:_SHOWN]:
        yield finding(
            Check.WINNER_HAS_COUPON,
            coupon.pk,
            say(
                "user {user_id} was told ISSUED with coupon {user_coupon_id}, and has no such "
                "coupon of that request",
                user_id=outcome.user_id,
                user_coupon_id=outcome.user_coupon_id,
            ),
            outcome.pk,
        )
    its_outcome = issued.filter(pk=OuterRef("request_id"), user_id=OuterRef("user_id"))
    for held in UserCoupon.objects.filter(
        ~Exists(its_outcome), coupon_id=coupon.pk, request_id__isnull=False
    )[:_SHOWN]:
        yield finding(
            Check.COUPON_HAS_OUTCOME,
            coupon.pk,
            say("user {user_id} has a coupon whose request was not decided ISSUED", user_id=held.user_id),
            held.request_id,
        )


def _moments(coupon: Coupon) -> Iterator[Finding]:
    issued_at = UserCoupon.objects.filter(pk=OuterRef("user_coupon_id")).values("issued_at")
    differing = (
        _outcomes(coupon)
        .filter(status=RequestStatus.ISSUED)
        .annotate(issued_at=Subquery(issued_at[:1]))
        .exclude(issued_at=F("processed_at"))
        .values_list("pk", "processed_at", "issued_at")
    )
    shown = 0
    for request_id, decided_at, given_at in differing.iterator():
        if given_at is None or abs(given_at - decided_at) <= _SAME_MOMENT:
            continue
        yield finding(
            Check.ISSUED_WHEN_DECIDED,
            coupon.pk,
            say(
                "decided at {decided_at}, in the transaction that issued the coupon at {given_at}",
                decided_at=decided_at.isoformat(),
                given_at=given_at.isoformat(),
            ),
            request_id,
        )
        shown += 1
        if shown == _SHOWN:
            return


def _has_place() -> Q:
    return Q(kafka_partition__gte=0, kafka_offset__gte=0)


def whole(outcomes: QuerySet[IssueOutcome]) -> Iterator[Finding]:
    """Outcomes whose columns contradict each other, of whichever row of the coupon."""
    decided = _has_place() & Q(coupon_epoch__isnull=False, user_id__isnull=False, stock_left__gte=0)
    nothing_won = Q(claim_rank__isnull=True, user_coupon_id__isnull=True)
    no_place = Q(kafka_partition__isnull=True, kafka_offset__isnull=True, user_id__isnull=False)
    not_decided = nothing_won & Q(stock_left__isnull=True)
    lost = Q(reason=DeadLetterReason.EVENT_LOST.value)
    broken = outcomes.exclude(
        decided & Q(status=RequestStatus.ISSUED, reason__isnull=True, claim_rank__isnull=False)
        | decided & nothing_won & Q(status=RequestStatus.REJECTED, reason__in=_REJECTIONS)
        | not_decided & no_place & Q(status=RequestStatus.REJECTED, reason=Code.BROKER_UNAVAILABLE.value)
        | not_decided & (_has_place() | lost) & Q(status=RequestStatus.FAILED, reason__in=_FAILURES)
    )
    for outcome in broken[:_SHOWN]:
        yield _of(
            Check.OUTCOME_IS_WHOLE,
            outcome,
            say(
                "status {status}, reason {reason}, rank {claim_rank}, user coupon "
                "{user_coupon_id}, stock left {stock_left}, partition {kafka_partition}, offset"
                " {kafka_offset}, epoch {coupon_epoch} do not go together",
                status=outcome.status,
                reason=outcome.reason,
                claim_rank=outcome.claim_rank,
                user_coupon_id=outcome.user_coupon_id,
                stock_left=outcome.stock_left,
                kafka_partition=outcome.kafka_partition,
                kafka_offset=outcome.kafka_offset,
                coupon_epoch=outcome.coupon_epoch,
            ),
        )
    skipped = outcomes.filter(reason=Decision.OUT_OF_STOCK.value, stock_left__gt=0)
    for outcome in skipped[:_SHOWN]:
        yield _of(
            Check.NOBODY_SKIPPED,
            outcome,
            say(
                "user {user_id} was told OUT_OF_STOCK while {stock_left} were left",
                user_id=outcome.user_id,
                stock_left=outcome.stock_left,
            ),
        )


def _of(check: Check, outcome: IssueOutcome, message: str) -> Finding:
    return Finding(check=check, coupon_id=outcome.coupon_id, message=message, request_id=str(outcome.pk))
