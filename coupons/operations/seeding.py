"""Make users with points, and coupons, to try the system with. Rows that exist are not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db import connection, transaction
from django.db.models import Model

from coupons.models import Coupon, Point, User

POINTS: Final = 100_000  #: any number will do: points and discounts are not used by claims
DISCOUNT_AMOUNT: Final = 5_000
#: Rows per transaction: more is hardly faster, and an interruption loses little.
_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    made: int = 0
    existing: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(made=self.made + other.made, existing=self.existing + other.existing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    users: Tally
    points: Tally
    coupons: Tally


def seed(
    *, users: int, coupons: int, stock: int, dry_run: bool, on_progress: Callable[[int], object]
) -> Seeded:
    """Make users 1 to ``users`` with points each, and coupons 1 to ``coupons`` with ``stock``.

    Each thousand is committed by itself, so that an interrupted run can go on. ``on_progress`` gets
    the number of users and coupons just done. ``dry_run`` counts and writes nothing. Raises
    IntegrityError if another process makes one of these rows at the same moment.
    """
    made_users, made_points, made_coupons = Tally(), Tally(), Tally()
    for ids in _to(users):
        with transaction.atomic():
            made_users += _seed_users(ids, dry_run=dry_run)
            made_points += _seed_points(ids, dry_run=dry_run)
        on_progress(len(ids))
    for ids in _to(coupons):
        with transaction.atomic():
            made_coupons += _seed_coupons(ids, stock=stock, dry_run=dry_run)
        on_progress(len(ids))
    return Seeded(users=made_users, points=made_points, coupons=made_coupons)


def _to(last_id: int) -> Iterator[range]:
    for first in range(1, last_id + 1, _AT_ONCE):
        yield range(first, min(first + _AT_ONCE, last_id + 1))


def _missing(ids: range, existing: set[int]) -> tuple[list[int], Tally]:
    missing = [number for number in ids if number not in existing]
    return missing, Tally(made=len(missing), existing=len(ids) - len(missing))


def _seed_users(ids: range, *, dry_run: bool) -> Tally:
    existing = User.objects.filter(pk__range=(ids[0], ids[-1])).values_list("pk", flat=True)
    missing, tally = _missing(ids, set(existing))
    if not dry_run:
        _insert(User, ("user_id", "name"), [(number, f"testuser{number}") for number in missing])
    return tally


def _seed_points(ids: range, *, dry_run: bool) -> Tally:
    existing = Point.objects.filter(user_id__gte=ids[0], user_id__lte=ids[-1])
    missing, tally = _missing(ids, set(existing.values_list("user_id", flat=True)))
    if not dry_run:
        _insert(Point, ("user_id", "balance"), [(number, POINTS) for number in missing])
    return tally


def _seed_coupons(ids: range, *, stock: int, dry_run: bool) -> Tally:
    existing = Coupon.objects.filter(pk__range=(ids[0], ids[-1])).values_list("pk", flat=True)
    missing, tally = _missing(ids, set(existing))
    if not dry_run:
        _insert(
            Coupon,
            ("coupon_id", "description", "discount_amount", "stock"),
            [(number, _description(number), DISCOUNT_AMOUNT, stock) for number in missing],
        )
    return tally


def _description(coupon_id: int) -> str:
    return "신규가입 할인쿠폰" if coupon_id == 1 else f"할인쿠폰 {coupon_id}"


def _insert(model: type[Model], columns: Sequence[str], rows: Sequence[tuple[int | str, ...]]) -> None:
    """Insert many rows in few statements; the database fills in its defaults for the other columns.

    Several times as fast as bulk_create(), which reads every row's defaults back, and with
    DEBUG=true keeps the text of every statement in memory.
    """
    if not rows:
        return
    quote = connection.ops.quote_name
    names = ", ".join(quote(column) for column in columns)
    marks = ", ".join(["%s"] * len(columns))
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({marks})", rows)
