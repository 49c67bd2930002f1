"""The rows of a CSV file that was checked are written, a thousand at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TextIO

from django.db import transaction
from django.db.models import Model

from coupons import selectors
from coupons.claim import Holding
from coupons.models import Coupon, EligibleUser, Point, User
from coupons.operations.importing.rows import AT_ONCE, Kind, Progress, key_of, parsed
from runtime.chunks import in_chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    made: int
    existing: int


def write(kind: Kind, file: TextIO, *, on_progress: Progress) -> Imported:
    """Write the rows of a file that ``check`` found whole; each thousand is committed by itself."""
    made = existing = 0
    for some in in_chunks((parsed(kind, row) for row in csv.DictReader(file)), AT_ONCE):
        with transaction.atomic():
            new = _without_existing(kind, some)
            _WRITERS[kind](new)
        made, existing = made + len(new), existing + len(some) - len(new)
        on_progress(len(some))
    return Imported(made=made, existing=existing)


def _without_existing(kind: Kind, rows: list[Any]) -> list[Any]:
    keys = [key for row in rows if (key := key_of(kind, row)) is not None]
    existing: set[Any] = set()
    if kind is Kind.ELIGIBLE:
        claimants = selectors.claimants(
            [Holding(*key) for key in keys], for_listed={coupon_id for coupon_id, _ in keys}
        )
        existing.update(holding for holding, claimant in claimants.items() if claimant.is_listed)
    else:
        model: type[Model] = User if kind is Kind.USERS else Coupon
        existing.update(model._default_manager.filter(pk__in=keys).values_list("pk", flat=True))
    return [row for row in rows if key_of(kind, row) not in existing]


def _write_users(users: Iterable[Any]) -> None:
    made = list(users)
    User.objects.bulk_create(made)
    Point.objects.bulk_create(
        Point(user_id=user.pk, balance=user.imported_balance)
        for user in made
        if user.imported_balance is not None
    )


def _write_coupons(coupons: Iterable[Any]) -> None:
    Coupon.objects.bulk_create(coupons)


def _write_eligible(listed: Iterable[Any]) -> None:
    EligibleUser.objects.bulk_create(listed)


_WRITERS: Final[Mapping[Kind, Callable[[Iterable[Any]], None]]] = {
    Kind.USERS: _write_users,
    Kind.COUPONS: _write_coupons,
    Kind.ELIGIBLE: _write_eligible,
}
