"""Outcomes as verify reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from coupons.events import CouponIssueEvent
from coupons.models import IssueOutcome
from coupons.outcomes import Code, RequestStatus

_IN_AT_ONCE: Final = 1000
_FIELDS: Final = (
    "pk",
    "status",
    "reason",
    "user_id",
    "coupon_id",
    "coupon_epoch",
    "claim_rank",
    "stock_left",
    "processed_at",
    "kafka_partition",
    "kafka_offset",
)
Place = tuple[int | None, int | None]  #: partition and offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An outcome. ``processed_at`` is one for all of a transaction, and its own."""

    request_id: UUID
    status: str
    reason: str | None
    user_id: int | None
    coupon_id: int | None
    coupon_epoch: int | None
    rank: int | None
    stock_left: int | None
    processed_at: datetime
    place: Place
    timestamp_ms: int = 0  #: the event's

    @property
    def is_issued(self) -> bool:
        return self.status == RequestStatus.ISSUED

    @property
    def is_of_the_race(self) -> bool:
        """A decision of the consumer about a claim that it could read."""
        return self.status != RequestStatus.FAILED and self.reason != Code.BROKER_UNAVAILABLE.value

    def is_of(self, event: CouponIssueEvent) -> bool:
        return (self.user_id, self.coupon_id) == (event.user_id, event.coupon_id)

    def is_before(self, ends: Mapping[int | None, int]) -> bool:
        partition, offset = self.place
        return offset is not None and (partition not in ends or offset < ends[partition])

    def with_time(self, timestamp_ms: int) -> Decided:
        return replace(self, timestamp_ms=timestamp_ms)


def outcomes_of(request_ids: Sequence[UUID]) -> dict[UUID, Decided]:
    """Those that there are."""
    found: dict[UUID, Decided] = {}
    for start in range(0, len(request_ids), _IN_AT_ONCE):
        rows = IssueOutcome.objects.filter(pk__in=request_ids[start : start + _IN_AT_ONCE])
        for (
            pk,
            status,
            reason,
            user_id,
            coupon_id,
            epoch,
            rank,
            stock_left,
            processed_at,
            *place,
        ) in rows.values_list(*_FIELDS):
            found[pk] = Decided(
                request_id=pk,
                status=status,
                reason=reason,
                user_id=user_id,
                coupon_id=coupon_id,
                coupon_epoch=epoch,
                rank=rank,
                stock_left=stock_left,
                processed_at=processed_at,
                place=(place[0], place[1]),
            )
    return found


def existing(rows: QuerySet[Any, Any], field: str, wanted: Collection[Any]) -> set[Any]:
    """The wanted values that the field has in some row."""
    values = list(wanted)
    found: set[Any] = set()
    for start in range(0, len(values), _IN_AT_ONCE):
        some = values[start : start + _IN_AT_ONCE]
        found.update(rows.filter(**{f"{field}__in": some}).values_list(field, flat=True))
    return found
