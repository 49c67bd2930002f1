"""Compares each event with its outcome: the same request, at the same place, and not given up."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import Place
from coupons.models import DeadLetter, DeadLetterState
from coupons.operations.verification.events import Events
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.operations.verification.outcome_rows import READABLE, OutcomeRow
from coupons.outcomes import RequestStatus
from runtime.operator_language import say

#: Consumers' clocks differ by less, as a rule. A request is given up 18 s after its reservation at the
#: earliest, so an event that was passed over shows all the same. Less, and clocks cause findings; more than
#: 18 s, and such an event passes.
_CLOCKS_AGREE_WITHIN: Final = timedelta(seconds=5)


class Matching:
    """``given_up_perhaps``: requests that were given up, whose event came later or was passed over."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._given_up: list[tuple[IssueRequest, OutcomeRow]] = []
        self.given_up_perhaps = 0

    def check(self, request: IssueRequest, row: OutcomeRow) -> Iterator[Finding]:
        event, place = request.event, request.place
        is_failed = row.status == RequestStatus.FAILED
        if row.is_given_up:
            self._given_up.append((request, row))
        # An outcome FAILED at another place: an unreadable event with this id came first.
        if not row.is_of(event) and (row.place == place or not is_failed):
            yield finding(
                Check.OUTCOME_MATCHES_EVENT,
                request.event.coupon_id,
                say(
                    "the event is of user {user_id}, coupon {coupon_id}; the outcome of user "
                    "{told_user}, coupon {told_coupon}",
                    user_id=event.user_id,
                    coupon_id=event.coupon_id,
                    told_user=row.user_id,
                    told_coupon=row.coupon_id,
                ),
                request.event.request_id,
            )
        if row.place == place:
            yield from self._time(request, row)
        elif not row.is_given_up and not self._may_be_elsewhere(request, row):
            yield finding(
                Check.OUTCOME_MATCHES_EVENT,
                request.event.coupon_id,
                say(
                    "the event is at partition {partition}, offset {offset}; the outcome says "
                    "partition {kafka_partition}, offset {kafka_offset}",
                    partition=place.partition,
                    offset=place.offset,
                    kafka_partition=row.kafka_partition,
                    kafka_offset=row.kafka_offset,
                ),
                request.event.request_id,
            )

    def given_up(self, decided: Iterable[OutcomeRow]) -> Iterator[Finding]:
        """Requests that were given up as never published, although their event was in the log by then.

        An event that came later is right: its request was given up, and the event changes nothing. An event
        certainly came earlier if one behind it was decided earlier, or in the same transaction.
        """
        if not self._given_up:
            return
        transactions, after = set(), _After()
        for each in decided:
            transactions.add(each.processed_at)
            after.add(each)
        for request, outcome in self._given_up:
            earliest = after.earliest(request.place)
            is_behind = earliest is not None and earliest + _CLOCKS_AGREE_WITHIN < outcome.processed_at
            if not is_behind and outcome.processed_at not in transactions:
                self.given_up_perhaps += 1
                continue
            yield finding(
                Check.GIVEN_UP_HAS_NO_EVENT,
                request.event.coupon_id,
                say(
                    "user {user_id} was told {reason}, and the event stood at partition "
                    "{partition}, offset {offset} when that was decided",
                    user_id=request.event.user_id,
                    reason=outcome.reason,
                    partition=request.place.partition,
                    offset=request.place.offset,
                ),
                request.event.request_id,
            )

    def _time(self, request: IssueRequest, row: OutcomeRow) -> Iterator[Finding]:
        event = request.event
        is_readable_letter = row.reason in READABLE and event.timestamp_ms
        if not row.is_of_the_race and not is_readable_letter:
            return
        if row.requested_at_ms != event.timestamp_ms:
            yield finding(
                Check.OUTCOME_MATCHES_EVENT,
                request.event.coupon_id,
                say(
                    "the event is of {timestamp_ms} (Unix ms); the outcome says requested at "
                    "{requested_at_ms}",
                    timestamp_ms=event.timestamp_ms,
                    requested_at_ms=row.requested_at_ms,
                ),
                request.event.request_id,
            )

    def _may_be_elsewhere(self, request: IssueRequest, row: OutcomeRow) -> bool:
        """Whether it was decided at a place that retention deleted, or as a dead letter at another place."""
        place, request_id = row.place, request.event.request_id
        if row.status == RequestStatus.FAILED and place in self._events.unreadable:
            return True
        return self._events.is_gone(place) or (
            place in self._events.again.get(request_id, ())
            and DeadLetter.objects.filter(request_id=request_id, state=DeadLetterState.REPLAYED).exists()
        )


class _After:
    """The earliest decision on events behind a place, in its partition."""

    def __init__(self) -> None:
        self._decided: defaultdict[int, list[tuple[int, datetime]]] = defaultdict(list)
        self._sorted: dict[int, tuple[list[int], list[datetime]]] = {}

    def add(self, row: OutcomeRow) -> None:
        if (place := row.place) is not None:
            self._decided[place.partition].append((place.offset, row.processed_at))

    def earliest(self, place: Place) -> datetime | None:
        partition, offset = place
        if partition not in self._sorted:
            decided = sorted(self._decided[partition])
            from_the_end = accumulate((moment for _, moment in reversed(decided)), min)
            self._sorted[partition] = [offset for offset, _ in decided], list(from_the_end)[::-1]
        offsets, earliest = self._sorted[partition]
        behind = bisect_right(offsets, offset)
        return earliest[behind] if behind < len(earliest) else None
