"""Remove a rehearsal with all its traces. What stays is who removed it, and its events in the log.

A rehearsal may be as large as the event, so it goes in small transactions. First it is written down who
removes it; then each transaction leaves a coupon whose rows agree with each other, so that `verify` stays
clean and whoever was interrupted runs it again.

The log is Kafka's: its events go with the topic's retention. `verify` knows that they are a removed
rehearsal's; if a restored database has them decided again, they become dead letters (COUPON_NOT_FOUND).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet

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
from coupons.operations import purging, resetting, steering
from coupons.operations.purging import Outcome
from coupons.operations.steering import Step
from coupons.outcomes import SteeringAction
from runtime.chunks import in_chunks
from runtime.operator_language import say

log = logging.getLogger(__name__)

#: Rows of one transaction. More, and a replica, and whoever waits for the coupon's row, waits for longer.
AT_ONCE: Final = 1_000
#: Removals whose late rows are looked for. Fewer, and some stay where many rehearsals go within minutes;
#: more, and each round of housekeeping asks for more.
_LATELY: Final = 20


class NotRemoved(ValueError):
    """It is no rehearsal, is open, or something of it is undecided; nothing was removed."""


class NotRemovedWhole(NotRemoved):
    """Somebody opened it meanwhile. What is left of it stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """The numbers of rows that a rehearsal has left."""

    user_coupons: int
    outcomes: int
    dead_letters: int
    refusals: int
    figures: int
    eligible_users: int
    steps: int

    @property
    def whole(self) -> int:
        return sum(asdict(self).values())


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


def remove(coupon_id: int, *, who: str, why: str, on_progress: Callable[[int], object]) -> Traces:
    """Remove all of it; returns what there was. Raises NotRemoved, LogUnavailable, Coupon.DoesNotExist.

    ``on_progress`` gets how many rows were just deleted. May be interrupted and run again.
    """
    left = _begin(coupon_id, who=who, why=why)
    _forget(coupon_id)  # it would count more than the row does
    for some in in_chunks(purging.in_log_order(coupon_id), AT_ONCE):
        on_progress(_delete_decided(coupon_id, some))
    while deleted := _delete_some(coupon_id):
        on_progress(deleted)
    _forget(coupon_id)
    return left


def forget_late() -> int:
    """Delete some rows that came after a removal; returns how many. For housekeeping.

    A process that has not seen yet that the coupon is gone writes what it counted of it, within seconds, or
    when its database is back.
    """
    steps = Steering.objects.filter(action=SteeringAction.REMOVE_REHEARSAL)
    lately = steps.order_by("-pk").values_list("coupon_id", flat=True)[:_LATELY]
    removed_ids = {coupon_id for coupon_id in lately if coupon_id is not None}
    gone = removed_ids - set(Coupon.objects.filter(pk__in=removed_ids).values_list("pk", flat=True))
    deleted = 0
    for model in (SecondFigures, Refusal):
        late = list(model._default_manager.filter(coupon_id__in=gone).values_list("pk", flat=True)[:AT_ONCE])
        deleted += model._default_manager.filter(pk__in=late).delete()[0] if late else 0
    return deleted


def _forget(coupon_id: int) -> None:
    try:
        gate.clear(coupon_id)
    except GateUnavailable as error:
        log.warning("the keys of coupon %d stay in Redis, harmless: %s", coupon_id, error)


@transaction.atomic(durable=True)
def _begin(coupon_id: int, *, who: str, why: str) -> Traces:
    """Write down that it is removed: from here on nobody misses what its events led to."""
    coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
    refuse(coupon)
    left = traces(coupon_id)
    step = Step(action=SteeringAction.REMOVE_REHEARSAL, who=who, why=why, seen="")
    steering.write_down(step, coupon_id=coupon_id, change={"to_remove": asdict(left)})
    return left


def _locked(coupon_id: int) -> Coupon | None:
    """The coupon, in a transaction that holds its row; None: it is gone. Raises NotRemovedWhole."""
    coupon = Coupon.objects.select_for_update().filter(pk=coupon_id).first()
    if coupon is not None and (coupon.coupon_status != CouponStatus.CLOSED or coupon.defers):
        raise NotRemovedWhole(
            say("coupon {coupon_id} was opened meanwhile: the rest stays", coupon_id=coupon_id)
        )
    return coupon


@transaction.atomic(durable=True)
def _delete_decided(coupon_id: int, outcomes: Sequence[Outcome]) -> int:
    """Delete these with what they led to, as of a coupon that is purged; returns how many rows."""
    coupon = _locked(coupon_id)
    if coupon is None:
        return 0
    requests = [row[0] for row in outcomes]
    # By key: a DELETE that looks for them would lock what it looks at.
    letters = list(DeadLetter.objects.filter(request_id__in=requests).values_list("pk", flat=True))
    held = purging.user_coupons(coupon_id, outcomes)
    deleted = [
        DeadLetter.objects.filter(pk__in=letters).delete()[0],
        UserCoupon.objects.filter(pk__in=held).delete()[0],
        purging.delete(coupon, requests),
    ]
    return sum(deleted)


@transaction.atomic(durable=True)
def _delete_some(coupon_id: int) -> int:
    """Delete rows of what else there is, and in the end the coupon; 0: nothing is left."""
    coupon = _locked(coupon_id)
    if coupon is None:
        return 0
    for rows in (*_rows(coupon_id).values(), DisclosedRequest.objects.filter(coupon_id=coupon_id)):
        some = list(rows.values_list("pk", flat=True)[:AT_ONCE])
        if some:
            return int(rows.model._default_manager.filter(pk__in=some).delete()[0])
    coupon.delete()
    return 0


def _rows(coupon_id: int) -> dict[str, QuerySet[Any, Any]]:
    """All rows of the coupon but its own and why it goes, by what they are called in Traces."""
    outcomes = IssueOutcome.objects.filter(coupon_id=coupon_id)
    return {
        "dead_letters": DeadLetter.objects.filter(request_id__in=outcomes.values("request_id")),
        "user_coupons": UserCoupon.objects.filter(coupon_id=coupon_id),
        "outcomes": outcomes,
        "refusals": Refusal.objects.filter(coupon_id=coupon_id),
        "figures": SecondFigures.objects.filter(coupon_id=coupon_id),
        "eligible_users": EligibleUser.objects.filter(coupon_id=coupon_id),
        "steps": Steering.objects.filter(coupon_id=coupon_id).exclude(action=SteeringAction.REMOVE_REHEARSAL),
    }
