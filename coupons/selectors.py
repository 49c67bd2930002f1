"""Questions to the database that several parts ask: which users exist, hold a coupon, or were decided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection

from coupons import sql
from coupons.claim import Claim, Holding
from coupons.models import EligibleUser, IssueOutcome, User, UserCoupon
from coupons.outcomes import Code
from runtime.chunks import in_chunks
from runtime.replica import replica

_COUPONS_AT_ONCE: Final = 200  #: in one SELECT: see ``_held``


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
    users_by_coupon = _by_coupon(holdings)
    if not users_by_coupon:
        return {}
    users = sql.numbers({user_id for users in users_by_coupon.values() for user_id in users})
    user = connection.ops.quote_name(User._meta.db_table)
    rows = sql.select(
        f"SELECT user_id, NULL, NULL FROM {user} WHERE user_id IN ({users}) "
        f"UNION ALL {_held(users_by_coupon, 'user_id, coupon_id, request_id')}"
        + _listed({pk: users_by_coupon[pk] for pk in users_by_coupon.keys() & for_listed})
    )
    existing = {user_id for user_id, coupon_id, _ in rows if coupon_id is None}
    held = {
        Holding(coupon_id, user_id): None if request_id is None else UUID(str(request_id))
        for user_id, coupon_id, request_id in rows
        if coupon_id is not None and coupon_id > 0
    }
    listed: set[Holding] = set()
    if for_listed:
        listed = {Holding(-coupon, user_id) for user_id, coupon, _ in rows if coupon and coupon < 0}
    return {
        holding: Claimant(
            has_coupon=holding in held, first_request_id=held.get(holding), is_listed=holding in listed
        )
        for coupon_id, users in users_by_coupon.items()
        for holding in (Holding(coupon_id, user_id) for user_id in users & existing)
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
    rows = sql.select(_held(_by_coupon(holdings), "coupon_id, user_id"))
    return set(map(Holding._make, rows))


def _held(users_by_coupon: Mapping[int, Collection[int]], columns: str) -> str:
    """SQL for the user coupons of these users, with one condition per coupon.

    Two IN lists would make the database look for every user under every coupon. SQLite's expressions are
    at most 1,000 deep, and each OR makes them one deeper.
    """
    wanted = [
        f"(coupon_id = {coupon_id:d} AND user_id IN ({sql.numbers(users)}))"
        for coupon_id, users in users_by_coupon.items()
    ]
    return " UNION ALL ".join(
        f"SELECT {columns} FROM {UserCoupon._meta.db_table} WHERE {' OR '.join(some)}"
        for some in in_chunks(wanted, _COUPONS_AT_ONCE)
    )


def _listed(users_by_coupon: Mapping[int, Collection[int]]) -> str:
    """SQL that adds those of the users who are on their coupon's list: rows with the coupon's id below 0."""
    wanted = [
        f"(coupon_id = {coupon_id:d} AND user_id IN ({sql.numbers(users)}))"
        for coupon_id, users in users_by_coupon.items()
    ]
    return "".join(
        f" UNION ALL SELECT user_id, -coupon_id, NULL FROM {EligibleUser._meta.db_table} "
        f"WHERE {' OR '.join(some)}"
        for some in in_chunks(wanted, _COUPONS_AT_ONCE)
    )


def _by_coupon(holdings: Iterable[Holding]) -> dict[int, set[int]]:
    users_by_coupon: dict[int, set[int]] = {}
    for coupon_id, user_id in holdings:
        users_by_coupon.setdefault(coupon_id, set()).add(user_id)
    return users_by_coupon


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
