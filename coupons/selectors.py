"""Questions to the database that several parts ask: which users exist, hold a coupon, or were decided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from coupons import sql
from coupons.claim import Claim, Holding
from coupons.models import EligibleUser, IssueOutcome, User, UserCoupon
from coupons.outcomes import Code
from runtime.replica import replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """An existing user, and whether they have the coupon.

    The request id is None if the request has no outcome here. ``is_listed``: of a coupon for listed users.
    """

    has_coupon: bool
    first_request_id: UUID | None
    is_listed: bool = False


def claimants(
    holdings: Iterable[Holding], *, for_listed: Collection[int] = frozenset()
) -> dict[Holding, Claimant]:
    """The claimants of users who exist, by coupon and user. One query, in SQL: every batch of claims asks it.

    ``for_listed``: coupons that are for listed users; their lists are asked in the same query.

    Waits for the database, as all of this module: never in the loop.
    """
    pairs = set(holdings)
    if not pairs:
        return {}
    user = connection.ops.quote_name(User._meta.db_table)
    rows = sql.select(
        f"{sql.asked(pairs)}SELECT asked.coupon_id, asked.user_id, here.user_id, held.coupon_id, "
        f"held.request_id, {'listed.coupon_id' if for_listed else 'NULL'} "
        f"FROM asked LEFT JOIN {user} here ON here.user_id = asked.user_id"
        + sql.found(UserCoupon._meta.db_table, "held")
        + (sql.found(EligibleUser._meta.db_table, "listed") if for_listed else "")
    )
    return {
        Holding(coupon_id, user_id): Claimant(
            has_coupon=held is not None,
            first_request_id=None if request_id is None else UUID(str(request_id)),
            is_listed=coupon_id in for_listed and listed is not None,
        )
        for coupon_id, user_id, here, held, request_id, listed in rows
        if here is not None
    }


def decided(claims: Collection[Claim]) -> dict[UUID, bool]:
    """The ids of the requests that have an outcome, and for each whether its user has the coupon.

    A user who does not have it may claim again. Outcomes are read first: otherwise a request that is issued
    between the two questions would look like one that was decided without a coupon.
    """
    holdings = {claim.request_id: claim.holding for claim in claims}
    over = with_outcome(holdings.keys())
    held = holders({holdings[request_id] for request_id in over})
    return {request_id: holdings[request_id] in held for request_id in over}


def statuses(request_ids: Collection[UUID]) -> dict[UUID, str]:
    """The statuses of the requests that have an outcome."""
    table = IssueOutcome._meta.db_table
    found = sql.among(request_ids, table=table, column="request_id")
    rows = sql.select(f"SELECT request_id, status FROM {found}")
    return {UUID(str(request_id)): status for request_id, status in rows}


def with_outcome(request_ids: Collection[UUID]) -> set[UUID]:
    return set(statuses(request_ids)) if request_ids else set()


def holders(holdings: Collection[Holding]) -> set[Holding]:
    """The holdings that exist: the user has the coupon."""
    if not holdings:
        return set()
    table = UserCoupon._meta.db_table
    rows = sql.select(
        f"{sql.asked(set(holdings))}SELECT held.coupon_id, held.user_id FROM asked{sql.found(table, 'held')}"
    )
    return {Holding(coupon_id, user_id) for coupon_id, user_id in rows if coupon_id is not None}


def given_up(request_ids: Sequence[UUID]) -> set[UUID]:
    """The requests that were decided as never published (``coupons/gate/leaked_slots.py``)."""
    over = IssueOutcome.objects.filter(pk__in=request_ids, reason=Code.BROKER_UNAVAILABLE.value)
    return set(over.values_list("pk", flat=True))


def coupons_of_user(user_id: int) -> list[UserCoupon]:
    """A user's coupons, newest first, but for rehearsals. May be moments old, where there is a replica."""
    return replica.read(
        lambda alias: list(
            UserCoupon.objects.using(alias)
            .filter(user_id=user_id, coupon__is_rehearsal=False)
            .order_by("-user_coupon_id")
        )
    )
