"""The winners of a coupon in the order of their ranks, a million of them in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Final
from uuid import UUID

from django.utils import timezone

from coupons.models import Coupon, IssueOutcome, User
from coupons.outcomes import RequestStatus
from runtime.csv_lines import csv_lines

#: Rows that are read at once. More, and a page's thread holds more memory; fewer, and a million take longer.
AT_ONCE: Final = 5_000
_COLUMNS: Final = ("claim_rank", "user_id", "user_coupon_id", "request_id", "requested_at", "processed_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    rank: int
    user_id: int
    name: str  #: empty if the user is gone
    user_coupon_id: int | None
    request_id: UUID
    requested_at: datetime
    issued_at: datetime


def count(coupon: Coupon) -> int:
    """How many winners there are: those of this row, without those that another application issued."""
    return coupon.issued_count - coupon.adopted_count


def of(coupon: Coupon) -> Iterator[Winner]:
    """The winners by rank. Each step reads the next few thousand, by the index on coupon and rank."""
    rows = IssueOutcome.objects.filter(
        coupon_id=coupon.pk, status=RequestStatus.ISSUED, coupon_epoch=int(coupon.epoch)
    ).order_by("claim_rank")
    last = 0
    while some := list(rows.filter(claim_rank__gt=last).values_list(*_COLUMNS)[:AT_ONCE]):
        users = User.objects.filter(pk__in=[user_id for _, user_id, *_ in some])
        names: dict[int | None, str] = dict(users.values_list("pk", "name"))
        for rank, user_id, user_coupon_id, request_id, requested_at, issued_at in some:
            assert rank is not None
            assert user_id is not None
            yield Winner(
                rank=rank,
                user_id=user_id,
                name=names.get(user_id, ""),
                user_coupon_id=user_coupon_id,
                request_id=request_id,
                requested_at=requested_at,
                issued_at=issued_at,
            )
            last = rank


def as_csv(winners: Iterable[Winner]) -> Iterator[str]:
    """Lines of CSV, with a head. Times in the zone of the settings, with seconds and the zone."""
    names = [field.name for field in fields(Winner)]
    values_of = attrgetter(*names)  # `astuple` copies each value, which takes most of a row's time
    rows = ([_cell(value) for value in values_of(winner)] for winner in winners)
    return csv_lines(chain([names], rows))


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="milliseconds")
    return "" if value is None else value
