"""Deferred events: each is one that is undecided, is counted, and stands in front of all that is decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from coupons.eventlog.events import IssueRequest, UndecodableEvent, decode
from coupons.eventlog.place import Place
from coupons.models import Coupon, DeferredEvent, IssueOutcome
from coupons.operations.verification.events import Events
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.operations.verification.outcome_rows import OutcomeRow, each_of, existing
from coupons.outcomes import RequestStatus
from runtime.operator_language import say

_SHOWN: Final = 20  #: findings of one kind and coupon that are listed one by one


def check(coupon: Coupon) -> Iterator[Finding]:
    """Everything wrong with one coupon's deferred events, as far as the database alone shows it."""
    rows = DeferredEvent.objects.filter(coupon_id=coupon.pk)
    count = rows.count()
    if count != coupon.deferred_count:
        yield finding(
            Check.DEFERRED_COUNT,
            coupon.pk,
            say(
                "deferred_count is {deferred_count}, and {count} are",
                deferred_count=coupon.deferred_count,
                count=count,
            ),
        )
    wrong, ids = [], []
    for _, request_id, value in each_of(rows, "request_id", "event_value"):
        ids.append(request_id)
        if why := _wrong(coupon.pk, request_id, bytes(value)):
            wrong.append((request_id, why))
    # A dead letter that was sent again has its outcome FAILED until it is decided.
    decided = existing(IssueOutcome.objects.exclude(status=RequestStatus.FAILED), "pk", ids)
    wrong += [(request_id, say("has an outcome")) for request_id in sorted(decided)]
    for request_id, why in wrong[:_SHOWN]:
        yield finding(Check.DEFERRED_IS_WHOLE, coupon.pk, say("a deferred event {why}", why=why), request_id)


def _wrong(coupon_id: int, request_id: UUID, value: bytes) -> str:
    try:
        event = decode(value)
    except UndecodableEvent as error:
        return say("cannot be read: {error}", error=error)
    if (event.coupon_id, event.request_id) != (coupon_id, request_id):
        return say(
            "is of request {request_id}, coupon {coupon_id}",
            request_id=event.request_id,
            coupon_id=event.coupon_id,
        )
    return ""


class DeferredInLog:
    """The deferred events beside the log's. ``of_no_event``: not in this log: of a topic before it."""

    def __init__(self, events: Events) -> None:
        self._events = events
        rows = DeferredEvent.objects.all()
        if events.coupon_id is not None:
            rows = rows.filter(coupon_id=events.coupon_id)
        fields = ("request_id", "kafka_partition", "kafka_offset")
        self._places = {row[1]: Place(row[2], row[3]) for row in each_of(rows, *fields)}
        self._first: defaultdict[int, dict[int, Place]] = defaultdict(dict)
        self.of_no_event = len(self._places.keys() - events.first.keys())

    def __len__(self) -> int:
        return len(self._places)

    def has(self, request: IssueRequest) -> bool:
        """Whether this undecided event is deferred. To be asked of each, before ``findings``."""
        place = self._places.get(request.event.request_id)
        if place is None:
            return False
        first = self._first[request.event.coupon_id]
        first[request.place.partition] = min(request.place, first.get(request.place.partition, request.place))
        return True

    def misplaced(self, request: IssueRequest) -> Iterator[Finding]:
        place = self._places[request.event.request_id]
        if not self._events.stands_at(request.event.request_id, place) and not self._events.is_gone(place):
            yield finding(
                Check.DEFERRED_IS_WHOLE,
                request.event.coupon_id,
                say(
                    "the event is at partition {partition}, offset {offset}; it is deferred as of "
                    "partition {deferred_partition}, offset {deferred_offset}",
                    partition=request.place.partition,
                    offset=request.place.offset,
                    deferred_partition=place.partition,
                    deferred_offset=place.offset,
                ),
                request.event.request_id,
            )

    def passed_over(self, coupon_id: int, decided: Sequence[OutcomeRow]) -> Iterator[Finding]:
        """Events that were decided although an earlier one of their coupon is deferred still."""
        first = self._first.get(coupon_id, {})
        behind = [
            each
            for each in decided
            if (place := each.place) is not None and place > first.get(place.partition, place)
        ]
        for each in behind[:_SHOWN]:
            yield finding(
                Check.DEFERRED_IN_ORDER,
                coupon_id,
                say(
                    "user {user_id}'s request was decided, and an earlier one of the coupon is deferred",
                    user_id=each.user_id,
                ),
                each.request_id,
            )
