"""What the log shows: every event decided, at its place, and the winners the first in its order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from django.conf import settings

from coupons.backlog import Entry, Positions
from coupons.events import CouponIssueEvent
from coupons.models import Coupon, DeadLetter, DeadLetterState, UserCoupon
from coupons.outcomes import Code, RequestStatus
from coupons.verification.decided import Decided, Place, existing, outcomes_of
from coupons.verification.findings import Check, Finding
from coupons.verification.race import Race


class LogCheck:
    """Fed with the log's entries in order, then asked for what is wrong; after that it can count.

    ``undecided``: events that the group has not reached. ``of_other_rows``: decided while their coupon had
    another row. ``before_reset``: without an outcome, and perhaps deleted with a reset.
    """

    def __init__(self, positions: Mapping[int, Positions], *, coupon_id: int | None) -> None:
        self._positions = positions
        self._only = coupon_id
        self._first: dict[UUID, Entry] = {}  # the first place of each request
        self._again: defaultdict[UUID, set[Place]] = defaultdict(set)  # where it is once more
        self._unreadable: set[Place] = set()
        coupons = Coupon.objects.all()
        self._epochs = {coupon.pk: int(coupon.epoch) for coupon in coupons}
        self._reset = {coupon.pk for coupon in coupons if coupon.reset_at is not None}
        self.undecided = self.of_other_rows = self.before_reset = 0
        self.stock_changes = self.perhaps_known_users = 0

    def add(self, entry: Entry) -> None:
        if entry.event is None:
            if self._is_behind(entry):
                self._unreadable.add(_place(entry))
            return
        request_id = entry.event.event_id
        if self._only not in (None, entry.event.coupon_id):
            return
        if self._first.setdefault(request_id, entry) is not entry:
            self._again[request_id].add(_place(entry))

    def findings(self) -> Iterator[Finding]:
        outcomes = outcomes_of(list(self._first))
        races: defaultdict[int, list[Decided]] = defaultdict(list)
        missing: defaultdict[int, list[Entry]] = defaultdict(list)
        for request_id, entry in self._first.items():
            event = _event(entry)
            decided = outcomes.pop(request_id, None)  # a million of them need not be there twice
            if decided is None:
                missing[event.coupon_id].append(entry)
                continue
            yield from self._matches(entry, decided)
            if not decided.is_of_the_race or not decided.is_of(event):
                continue
            if decided.coupon_epoch == self._epochs.get(event.coupon_id):
                races[event.coupon_id].append(decided.with_time(event.timestamp_ms))
            else:
                self.of_other_rows += 1
        for coupon_id in sorted({*races, *missing}):
            yield from self._coupon(coupon_id, races[coupon_id], missing[coupon_id])
        yield from self._dead_letters()

    def _is_behind(self, entry: Entry) -> bool:
        """Behind the committed offset: it must be decided. Beyond it, it may be."""
        return entry.offset < self._positions[entry.partition].next_to_decide

    def _matches(self, entry: Entry, decided: Decided) -> Iterator[Finding]:
        event, place = _event(entry), _place(entry)
        is_failed = decided.status == RequestStatus.FAILED
        # FAILED elsewhere: an event with this id that could not be read came first.
        if not decided.is_of(event) and (decided.place == place or not is_failed):
            yield _finding(
                Check.OUTCOME_MATCHES_EVENT,
                entry,
                f"the event is of user {event.user_id}, coupon {event.coupon_id}; the outcome of "
                f"user {decided.user_id}, coupon {decided.coupon_id}",
            )
        if decided.place == place or decided.reason == Code.BROKER_UNAVAILABLE.value:
            return
        if is_failed and decided.place in self._unreadable:
            return
        if not self._may_be_gone(decided.place) and not self._was_sent_again(event.event_id, decided.place):
            yield _finding(
                Check.OUTCOME_MATCHES_EVENT,
                entry,
                f"the event is at partition {entry.partition}, offset {entry.offset}; the outcome says "
                f"partition {decided.place[0]}, offset {decided.place[1]}",
            )

    def _may_be_gone(self, place: Place) -> bool:
        """Decided at a place that retention has taken, and this is the same request once more."""
        partition, offset = place
        at = None if partition is None else self._positions.get(partition)
        return at is not None and offset is not None and offset < at.first

    def _was_sent_again(self, request_id: UUID, place: Place) -> bool:
        """Decided as a dead letter that an operator sent again."""
        return (
            place in self._again[request_id]
            and DeadLetter.objects.filter(request_id=request_id, state=DeadLetterState.REPLAYED).exists()
        )

    def _coupon(self, coupon_id: int, decided: list[Decided], missing: list[Entry]) -> Iterator[Finding]:
        yield from self._lost(coupon_id, decided, [entry for entry in missing if self._is_behind(entry)])
        # What was decided while the outcomes were read is known in parts: go no further than is whole.
        open_ends = _first_offsets(_place(entry) for entry in missing if not self._is_behind(entry))
        race = Race(coupon_id, [each for each in decided if each.is_before(open_ends)])
        yield from race.findings()
        self.undecided += sum(not self._is_behind(entry) for entry in missing)
        self.stock_changes += race.stock_changes
        self.perhaps_known_users += race.perhaps_known_users

    def _lost(self, coupon_id: int, decided: list[Decided], missing: list[Entry]) -> Iterator[Finding]:
        first_of_row = _first_offsets(each.place for each in decided)
        theirs = UserCoupon.objects.filter(coupon_id=coupon_id)
        winners = existing(theirs, "request_id", [_event(entry).event_id for entry in missing])
        for entry in missing:
            is_before_all = entry.offset < first_of_row.get(entry.partition, entry.offset + 1)
            if coupon_id in self._reset and is_before_all and _event(entry).event_id not in winners:
                self.before_reset += 1
                continue
            yield _finding(
                Check.EVERY_EVENT_DECIDED,
                entry,
                f"user {_event(entry).user_id}: accepted at partition {entry.partition}, offset "
                f"{entry.offset}, behind the committed offset, without an outcome",
            )

    def _dead_letters(self) -> Iterator[Finding]:
        kept = set(
            DeadLetter.objects.filter(original_topic=settings.CONFIG.kafka.topic).values_list(
                "original_partition", "original_offset"
            )
        )
        for partition, offset in sorted(self._unreadable - kept):
            yield Finding(
                check=Check.DEAD_LETTER_KEPT,
                message=f"the unreadable event at partition {partition}, offset {offset} "
                "is not among the dead letters",
            )


def _first_offsets(places: Iterable[Place]) -> dict[int | None, int]:
    """By partition."""
    first: dict[int | None, int] = {}
    for partition, offset in places:
        if offset is not None:
            first[partition] = min(first.get(partition, offset), offset)
    return first


def _place(entry: Entry) -> tuple[int, int]:
    return entry.partition, entry.offset


def _event(entry: Entry) -> CouponIssueEvent:
    if entry.event is None:
        raise RuntimeError("an unreadable entry has no event")
    return entry.event


def _finding(check: Check, entry: Entry, message: str) -> Finding:
    event = _event(entry)
    return Finding(check=check, message=message, coupon_id=event.coupon_id, request_id=str(event.event_id))
