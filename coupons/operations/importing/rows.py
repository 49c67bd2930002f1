"""A line of a CSV file as a row of the database, and all that may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from django.db.models import Model
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from coupons.eventlog.events import MAX_ID
from coupons.models import Coupon, CouponStatus, EligibleUser, User
from runtime.operator_language import marked

Progress = Callable[[int], object]  #: gets how many lines were just done
AT_ONCE: Final = 1_000  #: rows of one transaction, or of one question


class Kind(StrEnum):
    USERS = marked("users")
    COUPONS = marked("coupons")
    ELIGIBLE = marked("eligible")  # who may have coupons that are for listed users alone


class Problem(StrEnum):
    """All that may be wrong with a line, in English; ``coupons/admin/imports`` has it in Korean."""

    MISSING = "the first line must name the columns {known}; missing: {names}"
    UNKNOWN = "unknown columns: {names}; known: {known}"
    NO_CSV = "from here on it is no CSV: {told}"
    UNEVEN = "it has more or fewer values than the first line has names"
    NUL = "it has a NUL character"
    TWICE = "id {id} stands in the file twice"
    NO_NUMBER = "{name} is {text}, and must be a whole number from {least} to {most}"
    NO_TIME = "{name} is {text}, and must be a time such as 2030-12-01 20:00:00"
    CLOSES_FIRST = "closes_at must be after opens_at"
    NO_USER = "there is no user {id}: import users first"
    NO_COUPON = "there is no coupon {id}"
    FOR_ALL = "coupon {id} is not for listed users alone: make it with eligible_only"
    OF_FIELD = "{told}"  # Django's own words, in the reader's language


class WrongLine(ValueError):
    def __init__(self, problem: Problem, **values: object) -> None:
        super().__init__(problem.value.format(**values))
        self.problem, self.values = problem, values


_NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.USERS: ("user_id", "name"),
    Kind.COUPONS: ("description", "discount_amount", "stock"),
    Kind.ELIGIBLE: ("coupon_id", "user_id"),
}
_ALLOWED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.USERS: (*_NEEDED[Kind.USERS], "balance"),
    Kind.COUPONS: (
        "coupon_id",
        *_NEEDED[Kind.COUPONS],
        "opens_at",
        "closes_at",
        "is_rehearsal",
        "eligible_only",
    ),
    Kind.ELIGIBLE: _NEEDED[Kind.ELIGIBLE],
}


def wrong_head(kind: Kind, names: Collection[str]) -> WrongLine | None:
    known = ", ".join(_ALLOWED[kind])
    if missing := [name for name in _NEEDED[kind] if name not in names]:
        return WrongLine(Problem.MISSING, known=known, names=", ".join(missing))
    if unknown := [name for name in names if name not in _ALLOWED[kind]]:
        return WrongLine(Problem.UNKNOWN, known=known, names=", ".join(map(str, unknown)))
    return None


def parsed(kind: Kind, row: Mapping[str | None, Any]) -> Any:
    """The row as a model that is not saved. Raises WrongLine, ValidationError."""
    if None in row or None in row.values():
        raise WrongLine(Problem.UNEVEN)
    values = {str(name): str(value).strip() for name, value in row.items()}
    if any("\0" in value for value in values.values()):
        raise WrongLine(Problem.NUL)
    made = _PARSERS[kind](values)
    made.clean_fields(exclude=["created_at", "updated_at", "issued_count", "adopted_count", "deferred_count"])
    return made


def _user(values: Mapping[str, str]) -> User:
    user = User(user_id=_whole(values, "user_id", least=1), name=values["name"])
    user.imported_balance = _whole(values, "balance", least=0) if values.get("balance") else None  # type: ignore[attr-defined]
    return user


def _coupon(values: Mapping[str, str]) -> Coupon:
    opens_at, closes_at = _moment(values, "opens_at"), _moment(values, "closes_at")
    if opens_at and closes_at and opens_at >= closes_at:
        raise WrongLine(Problem.CLOSES_FIRST)
    return Coupon(
        coupon_id=_whole(values, "coupon_id", least=1) if values.get("coupon_id") else None,
        description=values["description"],
        discount_amount=_whole(values, "discount_amount", least=1),
        stock=_whole(values, "stock", least=0),
        opens_at=opens_at,
        closes_at=closes_at,
        is_rehearsal=_is_true(values, "is_rehearsal"),
        eligible_only=_is_true(values, "eligible_only"),
        # As in the admin: closed until somebody opens it, or until its start.
        coupon_status=CouponStatus.OPENED if opens_at else CouponStatus.CLOSED,
    )


def _eligible(values: Mapping[str, str]) -> EligibleUser:
    return EligibleUser(
        coupon_id=_whole(values, "coupon_id", least=1), user_id=_whole(values, "user_id", least=1)
    )


_PARSERS: Final[Mapping[Kind, Callable[[Mapping[str, str]], Model]]] = {
    Kind.USERS: _user,
    Kind.COUPONS: _coupon,
    Kind.ELIGIBLE: _eligible,
}


def _is_true(values: Mapping[str, str], name: str) -> bool:
    return values.get(name, "").lower() in ("1", "true", "yes")


def _whole(values: Mapping[str, str], name: str, *, least: int) -> int:
    text = values[name]
    if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= MAX_ID:
        raise WrongLine(Problem.NO_NUMBER, name=name, text=repr(text), least=least, most=MAX_ID)
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
        raise WrongLine(Problem.NO_TIME, name=name, text=repr(text))
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def key_of(kind: Kind, made: Any) -> Any:
    """What makes the row another one than the file's others; None if nothing does."""
    match kind:
        case Kind.USERS:
            return made.user_id
        case Kind.COUPONS:
            return made.coupon_id
        case Kind.ELIGIBLE:
            return made.coupon_id, made.user_id
