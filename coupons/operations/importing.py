"""Users and coupons from CSV: the whole file is read and checked first, then written in steps.

Rows whose id exists are left as they are, so that a run that was interrupted can be run again.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TextIO

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from coupons.eventlog.events import MAX_ID
from coupons.models import Coupon, CouponStatus, Point, User
from runtime.chunks import in_chunks

_AT_ONCE: Final = 1_000  #: rows of one transaction
_MOST_ERRORS: Final = 100  #: that are listed: a file with another separator has one in each line
Progress = Callable[[int], object]


class Kind(StrEnum):
    USERS = "users"
    COUPONS = "coupons"


_NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.USERS: ("user_id", "name"),
    Kind.COUPONS: ("description", "discount_amount", "stock"),
}
_ALLOWED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.USERS: (*_NEEDED[Kind.USERS], "balance"),
    Kind.COUPONS: ("coupon_id", *_NEEDED[Kind.COUPONS], "opens_at", "closes_at", "is_rehearsal"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    line: int  #: of the file, from 1; the head is the first
    message: str


@dataclass(slots=True, kw_only=True)
class Checked:
    """What a file holds. ``rows`` without errors; not all errors are listed."""

    rows: int = 0
    error_count: int = 0
    errors: list[LineError] = field(default_factory=list)

    def add(self, line: int, message: str) -> None:
        self.error_count += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(LineError(line=line, message=message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    made: int
    existing: int


def check(kind: Kind, file: TextIO, *, on_progress: Progress) -> Checked:
    """Read all of the file. Nothing is written."""
    found, seen = Checked(), set[int]()
    reader = csv.DictReader(file)
    if problem := _wrong_head(kind, reader.fieldnames or ()):
        found.add(1, problem)
        return found
    for row in reader:
        try:
            pk = _id_of(kind, _parsed(kind, row))
            if pk in seen:
                raise ValueError(f"id {pk} stands in the file twice")
            if pk is not None:
                seen.add(pk)
            found.rows += 1
        except ValidationError as error:
            told = [f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items()]
            found.add(reader.line_num, "; ".join(told))
        except ValueError as error:
            found.add(reader.line_num, str(error))
        on_progress(1)
    return found


def write(kind: Kind, file: TextIO, *, on_progress: Progress) -> Imported:
    """Write the rows of a file that ``check`` found whole; each thousand is committed by itself."""
    made = existing = 0
    for some in in_chunks((_parsed(kind, row) for row in csv.DictReader(file)), _AT_ONCE):
        with transaction.atomic():
            new = _without_existing(kind, some)
            _WRITERS[kind](new)
        made, existing = made + len(new), existing + len(some) - len(new)
        on_progress(len(some))
    return Imported(made=made, existing=existing)


def _wrong_head(kind: Kind, names: Collection[str]) -> str:
    if missing := [name for name in _NEEDED[kind] if name not in names]:
        return (
            f"the first line must name the columns {', '.join(_ALLOWED[kind])}; missing: {', '.join(missing)}"
        )
    if unknown := [name for name in names if name not in _ALLOWED[kind]]:
        return f"unknown columns: {', '.join(map(str, unknown))}; known: {', '.join(_ALLOWED[kind])}"
    return ""


def _parsed(kind: Kind, row: Mapping[str | None, Any]) -> Any:
    """The row as a model that is not saved. Raises ValueError, ValidationError."""
    if None in row or None in row.values():
        raise ValueError("it has more or fewer values than the first line has names")
    values = {str(name): str(value).strip() for name, value in row.items()}
    made = _user(values) if kind is Kind.USERS else _coupon(values)
    made.clean_fields(exclude=["created_at", "updated_at", "issued_count", "adopted_count"])
    return made


def _user(values: Mapping[str, str]) -> User:
    user = User(user_id=_whole(values, "user_id", least=1), name=values["name"])
    user.imported_balance = _whole(values, "balance", least=0) if values.get("balance") else None  # type: ignore[attr-defined]
    return user


def _coupon(values: Mapping[str, str]) -> Coupon:
    opens_at, closes_at = _moment(values, "opens_at"), _moment(values, "closes_at")
    if opens_at and closes_at and opens_at >= closes_at:
        raise ValueError("closes_at must be after opens_at")
    return Coupon(
        coupon_id=_whole(values, "coupon_id", least=1) if values.get("coupon_id") else None,
        description=values["description"],
        discount_amount=_whole(values, "discount_amount", least=1),
        stock=_whole(values, "stock", least=0),
        opens_at=opens_at,
        closes_at=closes_at,
        is_rehearsal=values.get("is_rehearsal", "").lower() in ("1", "true", "yes"),
        # As in the admin: closed until somebody opens it, or until its start.
        coupon_status=CouponStatus.OPENED if opens_at else CouponStatus.CLOSED,
    )


def _whole(values: Mapping[str, str], name: str, *, least: int) -> int:
    text = values[name]
    if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= MAX_ID:
        raise ValueError(f"{name} is {text!r}, and must be a whole number from {least} to {MAX_ID}")
    return int(text)


def _moment(values: Mapping[str, str], name: str) -> datetime | None:
    """The time; one without a zone is of the zone of the admin's forms."""
    text = values.get(name, "")
    if not text:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError(f"{name} is {text!r}, and must be a time such as 2030-12-01 20:00:00")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _id_of(kind: Kind, made: Any) -> int | None:
    found: int | None = made.user_id if kind is Kind.USERS else made.coupon_id
    return found


def _without_existing(kind: Kind, rows: list[Any]) -> list[Any]:
    model: type[Model] = User if kind is Kind.USERS else Coupon
    ids = [pk for row in rows if (pk := _id_of(kind, row)) is not None]
    existing = set(model._default_manager.filter(pk__in=ids).values_list("pk", flat=True))
    return [row for row in rows if _id_of(kind, row) not in existing]


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


_WRITERS: Final[Mapping[Kind, Callable[[Iterable[Any]], None]]] = {
    Kind.USERS: _write_users,
    Kind.COUPONS: _write_coupons,
}
