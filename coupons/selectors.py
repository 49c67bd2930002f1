"""Reads from the database for the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from coupons.models import IssueOutcome, UserCoupon
from coupons.outcomes import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """An existing user, and whether they have the coupon.

    The request id is None if another application issued it.
    """

    has_coupon: bool
    first_request_id: UUID | None


def claimants(coupon_id: int, user_ids: Sequence[int]) -> dict[int, Claimant]:
    """Those of the users who exist, by id. One query.

    In SQL: every group of claims asks it, and making the statement anew with the ORM takes four times
    as long as running it (docs/performance.md).
    """
    users = set(user_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT u.user_id, held.user_coupon_id, held.request_id FROM user u "
            "LEFT JOIN user_coupon held ON held.user_id = u.user_id AND held.coupon_id = %s "
            f"WHERE u.user_id IN ({', '.join(['%s'] * len(users))})",
            [coupon_id, *users],
        )
        rows = cursor.fetchall()
    return {
        user_id: Claimant(
            has_coupon=user_coupon_id is not None,
            first_request_id=None if request_id is None else UUID(str(request_id)),
        )
        for user_id, user_coupon_id, request_id in rows
    }


def over_without_coupon(coupon_id: int, requests: Mapping[UUID, int]) -> set[UUID]:
    """Those requests (and whose they are) that were decided and left their user without the coupon.

    These users may ask again.
    """
    over = set(IssueOutcome.objects.filter(pk__in=requests).values_list("pk", flat=True))
    if not over:
        return over
    users = {requests[request_id] for request_id in over}
    holding = UserCoupon.objects.filter(coupon_id=coupon_id, user_id__in=users)
    holders = set(holding.values_list("user_id", flat=True))
    return {request_id for request_id in over if requests[request_id] not in holders}


def given_up(request_ids: Sequence[UUID]) -> set[UUID]:
    """Those that were decided as never published (``coupons/reclaiming.py``)."""
    over = IssueOutcome.objects.filter(pk__in=request_ids, reason=Code.BROKER_UNAVAILABLE.value)
    return set(over.values_list("pk", flat=True))


def coupons_of_user(user_id: int) -> QuerySet[UserCoupon]:
    """A user's coupons, newest first."""
    return UserCoupon.objects.filter(user_id=user_id).order_by("-user_coupon_id")
