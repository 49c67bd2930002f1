"""What one user asked for, what they were told and why: for support. Reads alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from coupons.claim import Claim
from coupons.gate.admission import GateUnavailable, gate
from coupons.models import Coupon, CouponStatus, IssueOutcome, Refusal, UserCoupon

_MOST: Final = 200  #: of each kind, the newest: more is nobody's question
_OPEN: Final = 50  #: coupons whose gates are asked whether a request of the user is under way


class Told(StrEnum):
    ISSUED = "ISSUED"
    REJECTED = "REJECTED"  # accepted first
    REFUSED = "REFUSED"
    PENDING = "PENDING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that a user was told. ``code``: why, where it was a no; ``rank``: a winner's."""

    told: Told
    coupon_id: int
    at: datetime | None
    code: str | None = None
    count: int = 1
    rank: int | None = None
    request_id: UUID | None = None
    user_coupon_id: int | None = None


def entries(user_id: int) -> list[Entry]:
    """The newest first; what is under way before all. Waits for database and Redis."""
    known = [*_issued(user_id), *_refused(user_id)]
    known.sort(key=lambda entry: entry.at.timestamp() if entry.at else 0.0, reverse=True)
    return [*_pending(user_id), *known]


def _issued(user_id: int) -> list[Entry]:
    held = list(UserCoupon.objects.filter(user_id=user_id).order_by("-pk")[:_MOST])
    outcomes = IssueOutcome.objects.in_bulk([each.request_id for each in held if each.request_id])
    return [
        Entry(
            told=Told.ISSUED,
            coupon_id=each.coupon_id,
            at=each.issued_at,
            rank=outcome.claim_rank if (outcome := outcomes.get(each.request_id)) else None,
            request_id=each.request_id,
            user_coupon_id=each.pk,
        )
        for each in held
    ]


def _refused(user_id: int) -> list[Entry]:
    rows = Refusal.objects.filter(user_id=user_id).order_by("-pk")[:_MOST]
    return [
        Entry(
            told=Told.REFUSED if row.request_id is None else Told.REJECTED,
            coupon_id=row.coupon_id,
            at=row.refused_at,
            code=row.code,
            count=row.count,
            request_id=row.request_id,
        )
        for row in rows
    ]


def _pending(user_id: int) -> list[Entry]:
    """Requests under way, as the gates of the newest open coupons have them; none while Redis is away."""
    opened = Coupon.objects.filter(coupon_status=CouponStatus.OPENED).order_by("-pk")
    try:
        claims: list[Claim] = gate.of_user(user_id, list(opened.values_list("pk", flat=True)[:_OPEN]))
    except GateUnavailable:
        return []
    return [
        Entry(told=Told.PENDING, coupon_id=each.coupon_id, at=None, request_id=each.request_id)
        for each in claims
    ]
