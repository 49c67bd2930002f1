"""From the outcomes back to the log: an outcome that has a place must have its event at that place.

A topic that was made anew, or a database that was taken to another cluster, leaves outcomes of an earlier
log, and no column shows it. Such outcomes were decided before all outcomes of this log. So an outcome without
its event is certainly wrong only if it cannot be an earlier one: its rank comes after that of a winner of
this log, its transaction decided events of this log, or it is dated an hour later than the first of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from coupons.eventlog.backlog import Entry
from coupons.eventlog.place import NextOffset, Place
from coupons.models import IssueOutcome
from coupons.operations.verification.events import Events
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.outcome_rows import OutcomeRow, each_of
from coupons.outcomes import RequestStatus
from runtime.operator_language import say

#: Clocks that are looked after jump by minutes at most. Less, and clocks cause findings; more, and outcomes
#: of this log pass for an earlier log's.
_LATER_FOR_CERTAIN: Final = timedelta(hours=1)
_FIELDS: Final = (
    "kafka_partition",
    "kafka_offset",
    "status",
    "coupon_id",
    "coupon_epoch",
    "claim_rank",
    "processed_at",
)
ReadOn = Callable[[Mapping[int, NextOffset]], Iterable[Entry]]  #: the log from these offsets on, by partition


class Places:
    """``of_no_event``: how many outcomes without an event an earlier log would explain.

    ``with_event``: how many have their event, by partition. ``ahead``: how many of these are at or beyond the
    group's position.
    """

    def __init__(self, events: Events, *, next_offsets: Mapping[int, NextOffset]) -> None:
        self._events = events
        self._next_offsets = next_offsets
        self._lowest_ranks: dict[tuple[int | None, int | None], int] = {}
        self._transactions: set[datetime] = set()
        self._first_transaction: datetime | None = None
        self._not_read: list[tuple[Any, ...]] = []
        self.of_no_event = 0
        self.with_event: Counter[int] = Counter()
        self.ahead: Counter[int] = Counter()

    def note(self, outcome: OutcomeRow) -> None:
        """Note an outcome that has its event."""
        self._transactions.add(outcome.processed_at)
        self._first_transaction = min(outcome.processed_at, self._first_transaction or outcome.processed_at)
        if outcome.is_issued and outcome.rank is not None:
            row = outcome.coupon_id, outcome.coupon_epoch
            self._lowest_ranks[row] = min(outcome.rank, self._lowest_ranks.get(row, outcome.rank))

    def findings(self, read_on: ReadOn) -> Iterator[Finding]:
        """Outcomes without their event. ``read_on`` is called if some were decided since the log was read."""
        outcomes = IssueOutcome.objects.filter(kafka_partition__isnull=False, kafka_offset__isnull=False)
        if self._events.coupon_id is not None:
            outcomes = outcomes.filter(coupon_id=self._events.coupon_id)
        for row in each_of(outcomes, *_FIELDS):
            yield from self._look_at(row)
        if not self._not_read:
            return
        late = {
            (request.event.request_id if request else None, place)
            for place, request in read_on(self._events.read_to)
        }
        for row in self._not_read:
            request_id, partition, offset, status, *_ = row
            place = Place(partition, offset)
            if (request_id, place) in late or (status == RequestStatus.FAILED and (None, place) in late):
                self.with_event[partition] += 1
            else:
                yield from self._alone(row, say("there is no event of it there, or the log ends before"))

    def _look_at(self, row: tuple[Any, ...]) -> Iterator[Finding]:
        request_id, partition, offset, status, *_ = row
        place = Place(partition, offset)
        if self._events.is_gone(place):
            return
        is_unreadable = status == RequestStatus.FAILED and place in self._events.unreadable
        if is_unreadable or self._events.stands_at(request_id, place):
            self.with_event[partition] += 1
            if offset >= self._next_offsets.get(partition, offset + 1):
                self.ahead[partition] += 1
        elif request_id in self._events.first:
            return  # its event is elsewhere: Matching has that finding
        elif partition not in self._events.read_to:
            yield from self._alone(row, say("there is no such partition"))
        elif offset >= self._events.read_to[partition]:
            self._not_read.append(row)
        else:
            yield from self._alone(row, say("there is no event of it there"))

    def _alone(self, row: tuple[Any, ...], why: str) -> Iterator[Finding]:
        request_id, partition, offset, status, coupon_id, *_ = row
        if not self._is_of_this_log(row):
            self.of_no_event += 1
            return
        yield Finding(
            check=Check.OUTCOME_HAS_EVENT,
            message=say(
                "decided {status} at partition {partition}, offset {offset}, and {why}",
                status=status,
                partition=partition,
                offset=offset,
                why=why,
            ),
            coupon_id=coupon_id,
            request_id=str(request_id),
        )

    def _is_of_this_log(self, row: tuple[Any, ...]) -> bool:
        _, _, _, status, coupon_id, epoch, rank, processed_at = row
        lowest = self._lowest_ranks.get((coupon_id, epoch))
        if status == RequestStatus.ISSUED and None not in (rank, lowest) and rank > lowest:
            return True
        if processed_at in self._transactions:
            return True
        first = self._first_transaction
        return first is not None and processed_at > first + _LATER_FOR_CERTAIN


def nothing_more(offsets: Mapping[int, NextOffset]) -> Iterable[Entry]:
    """The ``read_on`` of a log that does not grow."""
    return ()
