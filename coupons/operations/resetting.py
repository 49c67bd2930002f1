"""Set coupons back to the beginning: no user has them, no request was made, all of the stock is left.

For trying things out. Kafka's log is not touched: a consumer group that reads it from its
beginning would decide the old events again, on the reset coupon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from coupons.eventlog import backlog, deferred
from coupons.gate.admission import GateUnavailable, gate
from coupons.models import (
    Coupon,
    CouponStatus,
    DeferredEvent,
    DisclosedRequest,
    IssueOutcome,
    Refusal,
    SecondFigures,
    UserCoupon,
)
from runtime.chunks import in_chunks

_LOG_TIMEOUT_S: Final = 3.0  #: an operator waits: a log that is not read by then is a warning only
_AT_ONCE: Final = 1_000  #: rows of one DELETE: see ``_delete``


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The numbers of rows that a reset deletes."""

    coupons: int = 0
    user_coupons: int = 0
    outcomes: int = 0

    def __add__(self, other: History) -> History:
        return History(
            coupons=self.coupons + other.coupons,
            user_coupons=self.user_coupons + other.user_coupons,
            outcomes=self.outcomes + other.outcomes,
        )


def coupons_up_to(last_id: int) -> list[int]:
    """Ids of the existing coupons from 1 to ``last_id``."""
    return list(Coupon.objects.filter(pk__range=(1, last_id)).order_by("pk").values_list("pk", flat=True))


def history(coupon_ids: Sequence[int]) -> History:
    """The rows that a reset of these coupons would delete."""
    found = History(coupons=len(coupon_ids))
    for ids in in_chunks(coupon_ids, _AT_ONCE):
        found += History(
            user_coupons=UserCoupon.objects.filter(coupon_id__in=ids).count(),
            outcomes=IssueOutcome.objects.filter(coupon_id__in=ids).count(),
        )
    return found


def under_way(coupon_ids: Sequence[int]) -> dict[int, int]:
    """How many accepted and undecided requests each coupon has, without coupons that have none.

    The gate counts them, or the log where the gate is empty or Redis is away. Raises
    backlog.LogUnavailable when neither answers.
    """
    counts: dict[int, int] = {}
    unknown: set[int] = set()
    for coupon_id in coupon_ids:
        reserved = _reserved(coupon_id)
        if reserved is None:
            unknown.add(coupon_id)
        elif reserved:
            counts[coupon_id] = reserved
    if unknown:
        counts |= _in_the_log(unknown)
    return dict(sorted(counts.items()))


def _in_the_log(coupon_ids: Collection[int]) -> Counter[int]:
    """The undecided events in the log, and those that are deferred: of these only the rows' count is read."""
    only = next(iter(coupon_ids)) if len(coupon_ids) == 1 else None
    found = backlog.read(timeout_s=_LOG_TIMEOUT_S, coupon_id=only, deferred_of=()).requests
    undecided = {r.event.request_id: r.event.coupon_id for r in found if r.event.coupon_id in coupon_ids}
    for request_id in deferred.among(undecided):
        del undecided[request_id]
    return Counter(undecided.values()) + Counter(deferred.counts(coupon_ids))


def _reserved(coupon_id: int) -> int | None:
    try:
        return gate.reserved(coupon_id)
    except GateUnavailable:
        return None


def reset(coupon_id: int, *, stock: int) -> History:
    """Delete what the coupon's event has left (``History``, figures, refusals, deferred and disclosed
    requests), open it, and set its stock.

    It has no window then. One transaction holds the row's lock meanwhile, so that no consumer issues in
    between. The gate takes the row for a new one afterwards (``Coupon.epoch`` is its creation time), so that
    Redis's old data do not count. Call forget() afterwards all the same. Raises Coupon.DoesNotExist.
    """
    with transaction.atomic(durable=True):
        coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
        deleted = History(
            coupons=1,
            user_coupons=_delete(UserCoupon.objects.filter(coupon_id=coupon_id)),
            outcomes=_delete(IssueOutcome.objects.filter(coupon_id=coupon_id)),
        )
        _delete(SecondFigures.objects.filter(coupon_id=coupon_id))
        _delete(Refusal.objects.filter(coupon_id=coupon_id))
        _delete(DeferredEvent.objects.filter(coupon_id=coupon_id))
        # Else the search for leaked slots has them decided, as passed over, on the reset coupon.
        _delete(DisclosedRequest.objects.filter(coupon_id=coupon_id))
        coupon.stock = stock
        coupon.issued_count = coupon.adopted_count = coupon.deferred_count = 0
        coupon.coupon_status = CouponStatus.OPENED
        coupon.opens_at = coupon.closes_at = coupon.claims_paused_at = coupon.deciding_paused_at = None
        coupon.created_at = coupon.updated_at = coupon.reset_at = timezone.now()
        coupon.save()
    return deleted


def forget(coupon_id: int) -> None:
    """Clear the coupon's keys in Redis, so that former winners may claim at once. Raises GateUnavailable."""
    gate.clear(coupon_id)


def _delete(rows: QuerySet[Any, Any]) -> int:
    """Delete in statements of a thousand rows, because a single one could outlast the read timeout."""
    model: type[Model] = rows.model
    keys = list(rows.values_list("pk", flat=True))
    for some in in_chunks(keys, _AT_ONCE):
        model._default_manager.filter(pk__in=some).delete()
    return len(keys)
