"""The coupons whose events are deferred: their deciding is paused, or they still catch up after a pause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from coupons.eventlog import deferred
from coupons.models import Coupon, Steering
from coupons.outcomes import SteeringAction
from runtime.operator_language import say


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferring:
    """``paused_at``: None once deciding was resumed; ``who`` paused it, "" where that is not written down."""

    coupon_id: int
    description: str
    paused_at: datetime | None
    who: str
    waiting: int

    @property
    def is_resumed(self) -> bool:
        return self.paused_at is None

    def told(self) -> str:
        """One line for health and `manage.py status`."""
        if self.paused_at is None:
            return say("resumed: {waiting} deferred events are being decided", waiting=self.waiting)
        paused_at = self.paused_at.isoformat(timespec="seconds")
        if not self.who:
            return say(
                "paused since {paused_at}: {waiting} events wait", paused_at=paused_at, waiting=self.waiting
            )
        return say(
            "paused by {who} since {paused_at}: {waiting} events wait",
            who=self.who,
            paused_at=paused_at,
            waiting=self.waiting,
        )


def look() -> list[Deferring]:
    """The coupons whose events are deferred, by id. Two looks at indexes where there are none."""
    waiting = deferred.coupons()
    rows = Coupon.objects.filter(Q(deciding_paused_at__isnull=False) | Q(pk__in=waiting)).order_by("pk")
    return [
        Deferring(
            coupon_id=row.pk,
            description=row.description,
            paused_at=row.deciding_paused_at,
            who=who_paused(row.pk) if row.deciding_paused_at else "",
            waiting=row.deferred_count,
        )
        for row in rows
    ]


def who_paused(coupon_id: int) -> str:
    """Who paused the coupon's deciding last; "" if that was done straight in the database."""
    steps = Steering.objects.filter(coupon_id=coupon_id, action=SteeringAction.PAUSE_DECIDING.value)
    found = steps.order_by("-pk").values_list("who", flat=True).first()
    return found or ""
