"""Steering an event: what an operator may do to it now, what that leads to, and doing it.

Each step is one transaction: the row is locked, must be as the operator saw it, is changed, and the change is
written down with who and why. Claims follow within COUPON_VIEW_TTL_MS, the consumer with its next batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from coupons.eventlog.backlog import LogUnavailable
from coupons.models import Coupon, CouponStatus, Steering
from coupons.operations import resetting, stock
from coupons.outcomes import SteeringAction as Action
from runtime.operator_language import say

#: Beyond the age of a worker's view of the row: a claim's time is taken before its view is read, and its
#: worker may be busy. Shorter, and a claim that a late view let in is rejected after all; longer, and claims
#: go on for longer after they were stopped.
_MARGIN_S: Final = 0.5
_COLUMNS: Final = (
    "coupon_status",
    "opens_at",
    "closes_at",
    "claims_paused_at",
    "deciding_paused_at",
    "stock",
)


class Phase(StrEnum):
    """Where an event is, by its row and the clock."""

    CLOSED = "CLOSED"  # nobody has opened it, or it was stopped at once
    PLANNED = "PLANNED"  # it has a start, which is to come
    OPEN = "OPEN"
    PAUSED = "PAUSED"
    ENDED = "ENDED"  # its window is over: what was accepted is still decided


_ANY_TIME: Final = frozenset({Action.CHANGE_STOCK, Action.CHANGE_WINDOW})
_POSSIBLE: Final[Mapping[Phase, frozenset[Action]]] = {
    Phase.CLOSED: _ANY_TIME | {Action.OPEN},
    Phase.PLANNED: _ANY_TIME | {Action.OPEN, Action.PAUSE_CLAIMS, Action.STOP_AT_ONCE},
    Phase.OPEN: _ANY_TIME | {Action.PAUSE_CLAIMS, Action.STOP_CLAIMS, Action.STOP_AT_ONCE},
    Phase.PAUSED: _ANY_TIME | {Action.RESUME_CLAIMS, Action.STOP_CLAIMS, Action.STOP_AT_ONCE},
    Phase.ENDED: _ANY_TIME | {Action.OPEN, Action.STOP_AT_ONCE},
}


class NotPossible(ValueError):
    """The event is not in a phase for this, or changed since the operator saw it; nothing was done."""


class WrongPhase(NotPossible):
    """The step is none of the event's phase. It is told in codes; ``told`` tells it in other words."""

    def __init__(self, action: Action, phase: Phase) -> None:
        super().__init__(self.told(action=action, phase=phase))
        self.action = action
        self.phase = phase

    @staticmethod
    def told(*, action: str, phase: str) -> str:
        return say(
            "{action} is not possible while the event is {phase}",
            action=action,
            phase=phase,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What an operator sees before a step. ``seen`` must be given back: the row as it was.

    ``waiting``: requests accepted and undecided, None if nobody can say; ``ends_at``: when claims would
    end if they were stopped now; ``deferred``: how many of those that wait are put aside.
    """

    action: Action
    phase: Phase
    stock: int
    issued: int
    waiting: int | None
    ends_at: datetime
    seen: str
    deferred: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do, by whom and why. ``amount``: of stock; ``opens_at``, ``closes_at``: the new window."""

    action: Action
    who: str
    why: str
    seen: str
    amount: int = 0
    opens_at: datetime | None = None
    closes_at: datetime | None = None


def phase_of(coupon: Coupon, now: datetime) -> Phase:
    if coupon.coupon_status != CouponStatus.OPENED:
        return Phase.CLOSED
    if coupon.closes_at is not None and coupon.closes_at <= now:
        return Phase.ENDED
    if coupon.claims_paused_at is not None:
        return Phase.PAUSED
    return Phase.PLANNED if coupon.opens_at is not None and coupon.opens_at > now else Phase.OPEN


def possible(coupon: Coupon, now: datetime) -> frozenset[Action]:
    """What may be done now. Deciding is paused and resumed whatever the phase is: claims go on meanwhile."""
    of_deciding = Action.RESUME_DECIDING if coupon.deciding_paused_at else Action.PAUSE_DECIDING
    return _POSSIBLE[phase_of(coupon, now)] | {of_deciding}


def outlook(coupon: Coupon, action: Action) -> Outlook:
    """What the step would lead to. Raises NotPossible. Waits for Redis."""
    now = timezone.now()
    if action not in possible(coupon, now):
        raise WrongPhase(action, phase_of(coupon, now))
    return Outlook(
        action=action,
        phase=phase_of(coupon, now),
        stock=coupon.stock,
        issued=coupon.issued_count,
        waiting=waiting(coupon.pk),
        ends_at=_claims_end(now),
        seen=_seen(coupon),
        deferred=coupon.deferred_count,
    )


def waiting(coupon_id: int) -> int | None:
    """How many requests are undecided, by the gate or the log; None if neither answers. Takes 3 s at most."""
    try:
        return resetting.under_way([coupon_id]).get(coupon_id, 0)
    except LogUnavailable:
        return None


def take(step: Step, *, coupon_id: int) -> Steering:
    """Do it. Raises NotPossible, stock.StockOutOfRange, Coupon.DoesNotExist; nothing was done then."""
    count = waiting(coupon_id)
    with transaction.atomic():
        coupon = Coupon.objects.select_for_update().get(pk=coupon_id)
        now = timezone.now()
        if _seen(coupon) != step.seen:
            raise NotPossible(say("the event was changed meanwhile"))
        if step.action not in possible(coupon, now):
            raise WrongPhase(step.action, phase_of(coupon, now))
        before = _values(coupon)
        _change(coupon, step, now)
        after = _values(coupon)
        changed = {name: [before[name], after[name]] for name in _COLUMNS if before[name] != after[name]}
        return write_down(step, coupon_id=coupon_id, change={"changed": changed, "waiting": count})


def write_down(step: Step, *, coupon_id: int | None, change: Mapping[str, Any]) -> Steering:
    return Steering.objects.create(
        coupon_id=coupon_id,
        action=step.action.value,
        who=step.who,
        why=step.why,
        change=json.dumps(change, ensure_ascii=False),
    )


def _change(coupon: Coupon, step: Step, now: datetime) -> None:
    """Change the locked row. The stock is changed by an amount, everything else is set."""
    if step.action is Action.CHANGE_STOCK:
        coupon.stock = stock.change_stock(coupon_id=coupon.pk, amount=step.amount)
        return
    for name, value in _new_values(coupon, step, now).items():
        setattr(coupon, name, value)
    if coupon.opens_at and coupon.closes_at and coupon.opens_at >= coupon.closes_at:
        raise NotPossible(say("it must close after it opens"))
    coupon.updated_at = now
    coupon.save(update_fields=[*(name for name in _COLUMNS if name != "stock"), "updated_at"])


def _new_values(coupon: Coupon, step: Step, now: datetime) -> dict[str, Any]:
    match step.action:
        case Action.OPEN:
            return {
                "coupon_status": CouponStatus.OPENED,
                "opens_at": coupon.opens_at if coupon.opens_at and coupon.opens_at < now else now,
                "closes_at": coupon.closes_at if coupon.closes_at and coupon.closes_at > now else None,
                "claims_paused_at": None,
            }
        case Action.PAUSE_CLAIMS:
            return {"claims_paused_at": now}
        case Action.RESUME_CLAIMS:
            return {"claims_paused_at": None}
        case Action.STOP_CLAIMS:
            return {"closes_at": _claims_end(now), "claims_paused_at": None}
        case Action.PAUSE_DECIDING:
            return {"deciding_paused_at": now}
        case Action.RESUME_DECIDING:
            return {"deciding_paused_at": None}
        case Action.STOP_AT_ONCE:  # what is deferred is rejected too, so deciding goes on
            return {
                "coupon_status": CouponStatus.CLOSED,
                "claims_paused_at": None,
                "deciding_paused_at": None,
            }
        case Action.CHANGE_WINDOW:
            # A start that is given to a closed event is meant to open it.
            is_given = step.opens_at is not None and coupon.coupon_status == CouponStatus.CLOSED
            opened = {"coupon_status": CouponStatus.OPENED} if is_given else {}
            return {"opens_at": step.opens_at, "closes_at": step.closes_at, **opened}
        case _:
            raise NotPossible(say("{action} is no step of one event", action=step.action))


def _claims_end(now: datetime) -> datetime:
    """The earliest end that rejects no claim that is accepted: all workers must have seen it by then."""
    return now + timedelta(seconds=settings.CONFIG.api.coupon_view_ttl_s + _MARGIN_S)


def _values(coupon: Coupon) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value := getattr(coupon, name), datetime) else value
        for name in _COLUMNS
    }


def _seen(coupon: Coupon) -> str:
    """What an operator's decision rests on. Not the stock: it changes all the time."""
    return json.dumps([str(getattr(coupon, name)) for name in _COLUMNS if name != "stock"])
