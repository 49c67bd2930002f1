"""Outcomes' rows as verify reads them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sys import intern
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from coupons.eventlog.events import CouponIssueEvent
from coupons.eventlog.place import Place
from coupons.models import IssueOutcome
from coupons.outcomes import Code, DeadLetterReason, RequestStatus
from runtime.chunks import in_chunks

_IN_AT_ONCE: Final = 1000  #: ids in one IN list: a bound on the statement's size
_EACH_AT_ONCE: Final = 5000  #: rows of one SELECT, where a whole table is read: a bound on memory
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
    "requested_at",
    "kafka_partition",
    "kafka_offset",
)
#: Reasons for which a request was decided without an event.
GIVEN_UP: Final = (Code.BROKER_UNAVAILABLE.value, DeadLetterReason.EVENT_LOST.value)
#: Dead letters whose event could be read.
READABLE: Final = (DeadLetterReason.COUPON_NOT_FOUND.value, DeadLetterReason.UNSTORABLE.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """A row of coupon_issue_outcome. The rows of one transaction, and no others, share ``processed_at``."""

    request_id: UUID
    status: str
    reason: str | None
    user_id: int | None
    coupon_id: int | None
    coupon_epoch: int | None
    rank: int | None
    stock_left: int | None
    processed_at: datetime
    requested_at_ms: int
    kafka_partition: int | None
    kafka_offset: int | None
    timestamp_ms: int = 0  #: the event's

    @property
    def place(self) -> Place | None:
        """The place of its event; None if the row has none."""
        if self.kafka_partition is None or self.kafka_offset is None:
            return None
        return Place(self.kafka_partition, self.kafka_offset)

    @property
    def is_issued(self) -> bool:
        return self.status == RequestStatus.ISSUED

    @property
    def is_given_up(self) -> bool:
        return self.reason in GIVEN_UP

    @property
    def is_of_the_race(self) -> bool:
        """Whether the consumer decided it, from an event that it could read."""
        return self.status != RequestStatus.FAILED and not self.is_given_up

    def is_of(self, event: CouponIssueEvent) -> bool:
        return (self.user_id, self.coupon_id) == (event.user_id, event.coupon_id)

    def is_before(self, ends: Mapping[int, Place]) -> bool:
        """Whether its event comes before the end of its partition, if ``ends`` has one."""
        end = None if self.kafka_partition is None else ends.get(self.kafka_partition)
        return self.kafka_offset is not None and (end is None or self.kafka_offset < end.offset)

    def with_time(self, timestamp_ms: int) -> OutcomeRow:
        return replace(self, timestamp_ms=timestamp_ms)


def outcomes_of(request_ids: Sequence[UUID]) -> dict[UUID, OutcomeRow]:
    """The outcomes that exist, by request id. A million fit in memory: equal values are kept once."""
    found: dict[UUID, OutcomeRow] = {}
    moments: dict[datetime, datetime] = {}
    for chunk in in_chunks(request_ids, _IN_AT_ONCE):
        some = {request_id: request_id for request_id in chunk}
        for pk, status, reason, *others in IssueOutcome.objects.filter(pk__in=some).values_list(*_FIELDS):
            user_id, coupon_id, epoch, rank, stock_left, processed_at, requested_at, *place = others
            found[some[pk]] = OutcomeRow(
                request_id=some[pk],
                status=intern(status),
                reason=None if reason is None else intern(reason),
                user_id=user_id,
                coupon_id=coupon_id,
                coupon_epoch=epoch,
                rank=rank,
                stock_left=stock_left,
                processed_at=moments.setdefault(processed_at, processed_at),
                requested_at_ms=to_ms(requested_at),
                kafka_partition=place[0],
                kafka_offset=place[1],
            )
    return found


def to_ms(moment: datetime) -> int:
    """The nearest millisecond: DATETIME columns keep microseconds, and some that were taken over less."""
    return round(moment.timestamp() * 1000)


def existing(rows: QuerySet[Any, Any], field: str, wanted: Collection[Any]) -> set[Any]:
    """The wanted values that the field has in some row."""
    found: set[Any] = set()
    for some in in_chunks(wanted, _IN_AT_ONCE):
        found.update(rows.filter(**{f"{field}__in": some}).values_list(field, flat=True))
    return found


def each_of(rows: QuerySet[Any, Any], *fields: str) -> Iterator[tuple[Any, ...]]:
    """The primary key and these fields of every row, a few thousand at a time, to save memory."""
    last: Any = None
    while True:
        following = rows if last is None else rows.filter(pk__gt=last)
        some = list(following.order_by("pk").values_list("pk", *fields)[:_EACH_AT_ONCE])
        yield from some
        if len(some) < _EACH_AT_ONCE:
            return
        last = some[-1][0]
