"""Reads from the database for the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import FilteredRelation, Q, QuerySet

from coupons.models import IssueOutcome, User, UserCoupon
from coupons.outcomes import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """An existing user, and whether they have the coupon.

    The request id is None if another application issued it.
    """

    has_coupon: bool
    first_request_id: UUID | None


def claimants(coupon_id: int, user_ids: Sequence[int]) -> dict[int, Claimant]:
    """Those of the users who exist, by id. One query."""
    rows = (
        User.objects.filter(pk__in=set(user_ids))
        .annotate(
            held=FilteredRelation("user_coupons", condition=Q(user_coupons__coupon_id=coupon_id)),
        )
        .values_list("pk", "held__user_coupon_id", "held__request_id")
    )
    return {
        user_id: Claimant(has_coupon=user_coupon_id is not None, first_request_id=request_id)
        for user_id, user_coupon_id, request_id in rows
    }


def is_over_without_coupon(coupon_id: int, user_id: int, request_id: UUID) -> bool:
    """True if that request was decided and the user has no coupon of it: they may ask again."""
    return (
        not UserCoupon.objects.filter(coupon_id=coupon_id, user_id=user_id).exists()
        and IssueOutcome.objects.filter(pk=request_id).exists()
    )


def given_up(request_ids: Sequence[UUID]) -> set[UUID]:
    """Those that were decided as never published (``coupons/reclaiming.py``)."""
    over = IssueOutcome.objects.filter(pk__in=request_ids, reason=Code.BROKER_UNAVAILABLE.value)
    return set(over.values_list("pk", flat=True))


def coupons_of_user(user_id: int) -> QuerySet[UserCoupon]:
    """A user's coupons, newest first."""
    return UserCoupon.objects.filter(user_id=user_id).order_by("-user_coupon_id")
