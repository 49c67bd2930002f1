"""Delete the outcomes of events that ended long ago, in small transactions. Winners keep their coupons.

A purged coupon looks like one whose winners another application issued: ``adopted_count`` counts those whose
outcomes are not here, their user coupons name no request, and ``reset_at`` says that earlier outcomes are
missing. So ``verify`` stays clean, in the middle of a purge too: outcomes go in the log's order, and each
transaction counts what it takes. When and why each request was decided is gone for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Max
from django.utils import timezone

from coupons import sql
from coupons.models import (
    Coupon,
    CouponStatus,
    DeadLetter,
    DeadLetterState,
    DisclosedRequest,
    IssueOutcome,
    SecondFigures,
    UserCoupon,
)
from coupons.operations import resetting
from coupons.outcomes import RequestStatus
from runtime.chunks import in_chunks
from runtime.operator_language import say

#: Outcomes of one transaction. More, and whoever waits for the coupon's row waits longer, and replicas lag;
#: fewer, and a million takes longer.
AT_ONCE: Final = 1_000
#: Outcomes that are read and sorted at once: a bound on memory, and on how often a coupon's rows are sorted.
_READ_AT_ONCE: Final = 100_000
_FIELDS: Final = ("pk", "user_id")
Outcome = tuple[Any, ...]  #: the values of _FIELDS


class StillOpen(RuntimeError):
    """The coupon was opened again, or decided something, while it was purged. What was done stays done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A coupon with old outcomes, or old figures alone. ``figures``: rows of that age. ``last_decided``: None
    where its outcomes are gone, or it had none. ``why_not``: what keeps it from being purged; "" if nothing
    does.
    """

    coupon_id: int
    description: str
    outcomes: int
    figures: int
    last_decided: datetime | None
    why_not: str


def plan(older_than: datetime, *, coupon_id: int | None = None, with_figures: bool = False) -> list[Plan]:
    """Each coupon that decided something before ``older_than``, and nothing since. Raises LogUnavailable.

    ``with_figures``: those too that have old figures alone.
    """
    outcomes = IssueOutcome.objects.filter(coupon_id__isnull=False)
    if coupon_id is not None:
        outcomes = outcomes.filter(coupon_id=coupon_id)
    grouped = outcomes.order_by().values("coupon_id").annotate(number=Count("pk"), last=Max("processed_at"))
    rows = {row["coupon_id"]: row for row in grouped}
    found = {pk: row for pk, row in rows.items() if row["last"] < older_than}
    figures = _figures(
        older_than, coupon_id=coupon_id, of=None if with_figures else [pk for pk in found if pk is not None]
    )
    without_outcomes = [pk for pk in figures if pk not in rows]
    coupons = Coupon.objects.in_bulk([*found, *without_outcomes])
    undecided = resetting.under_way(list(coupons))
    return [
        Plan(
            coupon_id=pk,
            description=coupon.description,
            outcomes=found[pk]["number"] if pk in found else 0,
            figures=figures.get(pk, 0),
            last_decided=found[pk]["last"] if pk in found else None,
            why_not=why_not(coupon, older_than, undecided.get(pk, 0)),
        )
        for pk, coupon in sorted(coupons.items())
    ]


def _figures(older_than: datetime, *, coupon_id: int | None, of: list[int] | None) -> dict[int, int]:
    """How many rows of figures each coupon has from before that; ``of`` these, or of all coupons."""
    rows = SecondFigures.objects.filter(second__lt=int(older_than.timestamp()))
    if coupon_id is not None:
        rows = rows.filter(coupon_id=coupon_id)
    if of is not None:
        rows = rows.filter(coupon_id__in=of)
    grouped = rows.order_by().values("coupon_id").annotate(number=Count("pk"))
    return {row["coupon_id"]: row["number"] for row in grouped}


def why_not(coupon: Coupon, older_than: datetime, undecided: int) -> str:
    """What keeps it from being purged; "" if nothing does. ``undecided``: how many requests are."""
    if not is_over(coupon, older_than):
        return say("it is open: close it, or give it an end")
    if coupon.defers:
        return say("its deciding is paused: resume it, and wait until all is decided")
    if undecided:
        return say("{undecided} requests are not decided", undecided=undecided)
    if DisclosedRequest.objects.filter(coupon_id=coupon.pk).exists():
        return say("requests that a client was told of are not decided")
    failed = IssueOutcome.objects.filter(coupon_id=coupon.pk, status=RequestStatus.FAILED)
    waiting = DeadLetter.objects.filter(state=DeadLetterState.WAITING, request_id__in=failed.values("pk"))
    return say("dead letters wait: replay or discard them") if waiting.exists() else ""


def is_over(coupon: Coupon, older_than: datetime) -> bool:
    is_closed = coupon.coupon_status == CouponStatus.CLOSED
    return is_closed or (coupon.closes_at is not None and coupon.closes_at < older_than)


def purge(coupon_id: int, *, older_than: datetime, on_progress: Callable[[int], object]) -> int:
    """Delete the coupon's outcomes; returns how many. Raises StillOpen.

    ``on_progress`` gets how many were just deleted. May be interrupted and run again.
    """
    done = 0
    for some in in_chunks(in_log_order(coupon_id), AT_ONCE):
        done += _delete(coupon_id, some, older_than)
        on_progress(len(some))
    return done


def in_log_order(coupon_id: int) -> Iterator[Outcome]:
    """The coupon's outcomes in the log's order. Those that were given must be gone when more are read."""
    rows = IssueOutcome.objects.filter(coupon_id=coupon_id)
    while True:
        some = rows.order_by("kafka_partition", "kafka_offset", "pk").values_list(*_FIELDS)
        found = list(some[:_READ_AT_ONCE])
        yield from found
        if len(found) < _READ_AT_ONCE:
            return


@transaction.atomic(durable=True)
def _delete(coupon_id: int, outcomes: Sequence[Outcome], older_than: datetime) -> int:
    """Delete these under the coupon's lock, so that no consumer decides on it meanwhile."""
    coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
    rows = IssueOutcome.objects.filter(pk__in=[row[0] for row in outcomes])
    if not is_over(coupon, older_than) or rows.filter(processed_at__gte=older_than).exists():
        raise StillOpen(
            say("coupon {coupon_id} was opened or decided something meanwhile", coupon_id=coupon_id)
        )
    UserCoupon.objects.filter(pk__in=user_coupons(coupon_id, outcomes)).update(request_id=None)
    return delete(coupon, [row[0] for row in outcomes])


def user_coupons(coupon_id: int, outcomes: Sequence[Outcome]) -> list[int]:
    """The keys of the user coupons that these outcomes led to."""
    asked = sql.asked([(coupon_id, row[1]) for row in outcomes if row[1] is not None])
    requests = {row[0] for row in outcomes}
    found = sql.select(
        f"{asked}SELECT held.user_coupon_id, held.request_id "
        f"FROM asked{sql.found(UserCoupon._meta.db_table, 'held')}"
    )
    return [pk for pk, request_id in found if request_id and UUID(str(request_id)) in requests]


def delete(coupon: Coupon, request_ids: Sequence[UUID]) -> int:
    """Delete these outcomes of a coupon whose row is locked; its winners count as adopted from then on.

    They are counted as they are now: somebody else may have deleted some.
    """
    rows = IssueOutcome.objects.filter(pk__in=request_ids)
    winners = rows.filter(status=RequestStatus.ISSUED, coupon_epoch=int(coupon.epoch)).count()
    deleted, _ = rows.delete()
    Coupon.objects.filter(pk=coupon.pk).update(
        adopted_count=F("adopted_count") + winners, reset_at=coupon.reset_at or timezone.now()
    )
    return deleted
