"""Remove a rehearsal with all its traces. What stays is who removed it, and its events in the log.

The log is Kafka's: its events go with the topic's retention. `verify` knows that they are a removed
rehearsal's; if a restored database has them decided again, they become dead letters (COUPON_NOT_FOUND).
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db import transaction
from django.db.models import Model, QuerySet

from coupons.gate.admission import GateUnavailable, gate
from coupons.models import (
    Coupon,
    CouponStatus,
    DeadLetter,
    DisclosedRequest,
    EligibleUser,
    IssueOutcome,
    Refusal,
    SecondFigures,
    Steering,
    UserCoupon,
)
from coupons.operations import resetting, steering
from coupons.operations.steering import Step
from coupons.outcomes import SteeringAction
from runtime.chunks import in_chunks
from runtime.operator_language import say

log = logging.getLogger(__name__)

_AT_ONCE: Final = 1_000  #: rows of one DELETE: a single large one could outlast the read timeout


class NotRemoved(ValueError):
    """It is no rehearsal, is open, or something of it is undecided; nothing was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """The numbers of rows that a rehearsal has left."""

    user_coupons: int
    outcomes: int
    dead_letters: int
    refusals: int
    figures: int
    steps: int


def removed() -> set[int]:
    """The coupons that were rehearsals and are removed."""
    rows = Steering.objects.filter(action=SteeringAction.REMOVE_REHEARSAL, coupon_id__isnull=False)
    return {coupon_id for coupon_id in rows.values_list("coupon_id", flat=True) if coupon_id is not None}


def traces(coupon_id: int) -> Traces:
    return Traces(**{name: rows.count() for name, rows in _rows(coupon_id).items()})


def refuse(coupon: Coupon) -> None:
    """Raise NotRemoved, with the reason and the mend. Raises backlog.LogUnavailable where nobody knows."""
    if not coupon.is_rehearsal:
        raise NotRemoved(say("coupon {coupon_id} is no rehearsal", coupon_id=coupon.pk))
    if coupon.coupon_status != CouponStatus.CLOSED:
        raise NotRemoved(say("coupon {coupon_id} is not closed: stop it at once first", coupon_id=coupon.pk))
    if coupon.defers:
        raise NotRemoved(
            say(
                "the deciding of coupon {coupon_id} is paused, or catches up: resume it, and wait",
                coupon_id=coupon.pk,
            )
        )
    if waiting := resetting.under_way([coupon.pk]).get(coupon.pk):
        raise NotRemoved(
            say(
                "{waiting} requests of coupon {coupon_id} are undecided: wait for the consumer",
                waiting=waiting,
                coupon_id=coupon.pk,
            )
        )


def remove(coupon_id: int, *, who: str, why: str) -> Traces:
    """Remove all of it, in one transaction that holds the coupon's row. Raises NotRemoved, DoesNotExist."""
    with transaction.atomic():
        coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
        refuse(coupon)
        left = Traces(**{name: _delete(rows) for name, rows in _rows(coupon_id).items()})
        _delete(DisclosedRequest.objects.filter(coupon_id=coupon_id))
        _delete(EligibleUser.objects.filter(coupon_id=coupon_id))
        coupon.delete()
        step = Step(action=SteeringAction.REMOVE_REHEARSAL, who=who, why=why, seen="")
        steering.write_down(step, coupon_id=coupon_id, change={"removed": asdict(left)})
    try:
        gate.clear(coupon_id)
    except GateUnavailable as error:
        log.warning("coupon %d is gone, and its keys stay in Redis, harmless: %s", coupon_id, error)
    return left


def _rows(coupon_id: int) -> dict[str, QuerySet[Any, Any]]:
    """All rows of the coupon but its own, by what they are called in Traces: letters before outcomes."""
    outcomes = IssueOutcome.objects.filter(coupon_id=coupon_id)
    return {
        "dead_letters": DeadLetter.objects.filter(request_id__in=outcomes.values("request_id")),
        "user_coupons": UserCoupon.objects.filter(coupon_id=coupon_id),
        "outcomes": outcomes,
        "refusals": Refusal.objects.filter(coupon_id=coupon_id),
        "figures": SecondFigures.objects.filter(coupon_id=coupon_id),
        "steps": Steering.objects.filter(coupon_id=coupon_id),
    }


def _delete(rows: QuerySet[Any, Any]) -> int:
    model: type[Model] = rows.model
    keys = list(rows.values_list("pk", flat=True))
    for some in in_chunks(keys, _AT_ONCE):
        model._default_manager.filter(pk__in=some).delete()
    return len(keys)
