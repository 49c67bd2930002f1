"""The rows of a batch of claims: which users exist, which hold a coupon, and the rows that deciding writes.

Each question and each table takes one statement in SQL for the whole batch. These statements are most of what
issuing costs: a row takes 100 us with bulk_create() and 10 us with these INSERTs (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final, TypeAlias

from django.db import connection

from coupons import sql
from coupons.issuing.allocation import Allocation
from coupons.models import EligibleUser, IssueOutcome, User, UserCoupon
from coupons.outcomes import Decision, RequestStatus

#: Coupon and user. A Holding is such a pair; these are thousands a second, and a plain tuple is made faster.
_Pair: TypeAlias = tuple[int, int]
_pair: Final = attrgetter("coupon_id", "user_id")
#: Of numbers and our own words alone, which need no escaping (coupons/sql.py); %d takes nothing but a number.
_USER_COUPON: Final = "(%d,%d,'%032x','%s')"
_OUTCOME: Final = "('%032x',%d,%d,%d,%s,%d,'%s','%s',%d,%d)"
_WON: Final = f"'{RequestStatus.ISSUED.value}',NULL,%d,%d"
_LOST: Final = f"'{RequestStatus.REJECTED.value}','%s',NULL,NULL"


def existing_users(user_ids: Collection[int]) -> set[int]:
    table = connection.ops.quote_name(User._meta.db_table)
    rows = sql.select(f"SELECT user_id FROM {table} WHERE user_id IN ({sql.numbers(user_ids)})")
    return {user_id for (user_id,) in rows}


def user_coupon_ids(users_by_coupon: Mapping[int, Collection[int]]) -> dict[_Pair, int]:
    """The user coupons that exist, by coupon and user."""
    return _by_pair(_found(users_by_coupon, UserCoupon._meta.db_table, "user_coupon_id"))


def eligible(users_by_coupon: Mapping[int, Collection[int]]) -> dict[int, set[int]]:
    """Those of the users who are on each coupon's list, by coupon."""
    listed: dict[int, set[int]] = {coupon_id: set() for coupon_id in users_by_coupon}
    for coupon_id, user_id, _ in _found(users_by_coupon, EligibleUser._meta.db_table, "eligible_user_id"):
        listed[coupon_id].add(user_id)
    return listed


def _found(
    users_by_coupon: Mapping[int, Collection[int]], table: str, key: str
) -> list[tuple[int, int, int]]:
    """Coupon, user and key of the rows of these users."""
    pairs = [(coupon_id, user_id) for coupon_id, users in users_by_coupon.items() for user_id in users]
    if not pairs:
        return []
    rows = sql.select(
        f"{sql.asked(pairs)}SELECT asked.coupon_id, asked.user_id, found.{key} "
        f"FROM asked{sql.found(table, 'found')}"
    )
    return [(coupon_id, user_id, pk) for coupon_id, user_id, pk in rows if pk is not None]


def insert_user_coupons(winners: Sequence[Allocation], now: datetime) -> dict[_Pair, int]:
    """Insert the winners' user coupons; returns their ids by coupon and user."""
    moment = sql.moment(now)
    # Sorted, so that concurrent inserts lock index entries in one order.
    values = [
        _USER_COUPON % (event.coupon_id, event.user_id, event.request_id.int, moment)
        for event in sorted([each.request.event for each in winners], key=_pair)
    ]
    statement = f"INSERT INTO {UserCoupon._meta.db_table} (coupon_id, user_id, request_id, issued_at) VALUES "
    if connection.features.can_return_rows_from_bulk_insert:  # MariaDB and SQLite
        rows = sql.insert(statement, values, returning=" RETURNING coupon_id, user_id, user_coupon_id")
        return _by_pair(rows)
    sql.insert(statement, values)
    users_by_coupon: dict[int, list[int]] = {}
    for winner in winners:
        users_by_coupon.setdefault(winner.request.event.coupon_id, []).append(winner.request.event.user_id)
    return user_coupon_ids(users_by_coupon)


def insert_outcomes(
    decided: Sequence[Allocation], ids: Mapping[_Pair, int], epochs: Mapping[int, int], now: datetime
) -> None:
    """Insert an outcome per decision. ``ids``: the winners' user coupons; ``epochs``: the coupons', by id."""
    moment = sql.moment(now)
    statement = (
        f"INSERT INTO {IssueOutcome._meta.db_table} (request_id, coupon_id, coupon_epoch, user_id, status, "
        "reason, user_coupon_id, claim_rank, stock_left, requested_at, processed_at, "
        "kafka_partition, kafka_offset) VALUES "
    )
    sql.insert(statement, [_outcome(allocation, ids, epochs, moment) for allocation in decided])


def _outcome(allocation: Allocation, ids: Mapping[_Pair, int], epochs: Mapping[int, int], moment: str) -> str:
    request, event = allocation.request, allocation.request.event
    coupon_id, user_id = event.coupon_id, event.user_id
    if allocation.decision is Decision.ISSUED:
        decided = _WON % (ids[coupon_id, user_id], allocation.rank)
    else:
        decided = _LOST % allocation.decision.value
    return _OUTCOME % (
        event.request_id.int,
        coupon_id,
        epochs[coupon_id],
        user_id,
        decided,
        allocation.stock_left,
        sql.moment_of(event.timestamp_ms),
        moment,
        *request.place,
    )


def _by_pair(rows: Iterable[Sequence[int]]) -> dict[_Pair, int]:
    return {(coupon_id, user_id): pk for coupon_id, user_id, pk in rows}
