"""What the log shows: every event decided, at its place, and the winners the first in its order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from django.conf import settings
from django.db.models import QuerySet

from coupons.eventlog.backlog import Entry, Positions
from coupons.models import Coupon, DeadLetter, DeadLetterState, LogPosition, UserCoupon
from coupons.operations.verification import positions as group_positions
from coupons.operations.verification.decided import READABLE, Decided, Place, existing, outcomes_of
from coupons.operations.verification.events import Events, event_of, place_of
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.matching import Matching, finding
from coupons.operations.verification.noted import Noted
from coupons.operations.verification.places import Places, ReadOn, nothing_more
from coupons.operations.verification.race import Race
from coupons.outcomes import RequestStatus


class LogCheck:
    """Fed with the log's entries in order, then asked for what is wrong; after that ``noted`` is filled."""

    def __init__(self, positions: Mapping[int, Positions], *, coupon_id: int | None) -> None:
        self._positions = positions
        self.events = Events(positions, coupon_id=coupon_id)
        self.noted = Noted()

    def add(self, entry: Entry) -> None:
        self.events.add(entry)

    def findings(self, *, read_on: ReadOn = nothing_more) -> Iterator[Finding]:
        """All reading of the database is done here: within one snapshot of it, it is of one moment."""
        coupons = Coupon.objects.all()
        self._epochs = {coupon.pk: int(coupon.epoch) for coupon in coupons}
        self._reset = {coupon.pk for coupon in coupons if coupon.reset_at is not None}
        self._races: defaultdict[int, list[Decided]] = defaultdict(list)
        self._missing: defaultdict[int, list[Entry]] = defaultdict(list)
        self._of_other_rows: defaultdict[int, list[tuple[Entry, Decided]]] = defaultdict(list)
        self._failed: set[tuple[int, int]] = set()  # readable events in the dead letters
        next_offsets = {p: row.next_offset for p, row in group_positions.rows().items()}
        places = Places(self.events, next_offsets=next_offsets)
        yield from self._each_event(places)
        for coupon_id in sorted({*self._races, *self._missing, *self._of_other_rows}):
            yield from self._coupon(coupon_id, self._races[coupon_id], self._missing[coupon_id])
        yield from self._dead_letters()
        yield from self._sent_again()
        yield from places.findings(read_on)
        self.noted.of_no_event += places.of_no_event
        self.noted.with_event += sum(places.with_event.values())
        if LogPosition.objects.exists():
            self.noted.without_position = sorted(places.with_event.keys() - next_offsets.keys())
        self.noted.ahead = dict(sorted(places.ahead.items()))

    def _each_event(self, places: Places) -> Iterator[Finding]:
        outcomes = outcomes_of(list(self.events.first))
        matching = Matching(self.events)
        for request_id, entry in self.events.first.items():
            event = event_of(entry)
            decided = outcomes.pop(request_id, None)  # a million of them need not be there twice
            if decided is None:
                self._missing[event.coupon_id].append(entry)
                continue
            yield from matching.check(entry, decided)
            if self.events.stands_at(request_id, decided.place):
                places.note(decided)
            if decided.status == RequestStatus.FAILED and decided.place == place_of(entry):
                self._failed.add(place_of(entry))
            if not decided.is_of_the_race or not decided.is_of(event):
                continue
            if decided.coupon_epoch == self._epochs.get(event.coupon_id):
                self._races[event.coupon_id].append(decided.with_time(event.timestamp_ms))
            else:
                self._of_other_rows[event.coupon_id].append((entry, decided))
                self.noted.of_other_rows += 1
        yield from matching.given_up(each for race in self._races.values() for each in race)
        self.noted.given_up_perhaps += matching.given_up_perhaps

    def _is_behind(self, entry: Entry) -> bool:
        """Behind the group's position: it must be decided. Beyond it, it may be."""
        return entry.offset < self._positions[entry.partition].next_to_decide

    def _coupon(self, coupon_id: int, decided: list[Decided], missing: list[Entry]) -> Iterator[Finding]:
        yield from self._lost(coupon_id, decided, [entry for entry in missing if self._is_behind(entry)])
        yield from self._rows_in_order(decided, self._of_other_rows[coupon_id])
        # Beyond the position another group may have decided some: go no further than is whole.
        open_ends = _first_offsets(place_of(entry) for entry in missing if not self._is_behind(entry))
        race = Race(coupon_id, [each for each in decided if each.is_before(open_ends)])
        yield from race.findings()
        self.noted.undecided += sum(not self._is_behind(entry) for entry in missing)
        self.noted.add(coupon_id, race)

    def _lost(self, coupon_id: int, decided: list[Decided], missing: list[Entry]) -> Iterator[Finding]:
        first_of_row = _first_offsets(each.place for each in decided)
        theirs = UserCoupon.objects.filter(coupon_id=coupon_id)
        winners = existing(theirs, "request_id", [event_of(entry).request_id for entry in missing])
        for entry in missing:
            is_before_all = entry.offset < first_of_row.get(entry.partition, entry.offset + 1)
            if coupon_id in self._reset and is_before_all and event_of(entry).request_id not in winners:
                self.noted.before_reset += 1
                continue
            yield finding(
                Check.EVERY_EVENT_DECIDED,
                entry,
                f"user {event_of(entry).user_id}: accepted at partition {entry.partition}, offset "
                f"{entry.offset}, behind the group's position, without an outcome",
            )

    def _rows_in_order(
        self, decided: list[Decided], of_other_rows: list[tuple[Entry, Decided]]
    ) -> Iterator[Finding]:
        """The row there is now is the last: what was decided on another one was decided before."""
        first_of_row = _first_offsets(each.place for each in decided)
        for entry, each in of_other_rows:
            partition, offset = each.place
            if offset is not None and offset > first_of_row.get(partition, offset):
                yield finding(
                    Check.OUTCOME_MATCHES_EVENT,
                    entry,
                    f"decided on another row of the coupon ({each.coupon_epoch}), after decisions on the one "
                    "that there is",
                )

    def _dead_letters(self) -> Iterator[Finding]:
        kept = set(_letters().values_list("original_partition", "original_offset"))
        behind = {
            place
            for place in self.events.unreadable
            if place[1] < self._positions[place[0]].next_to_decide and not self.events.is_gone(place)
        }
        for partition, offset in sorted((behind | self._failed) - kept):
            what = "event, decided FAILED," if (partition, offset) in self._failed else "unreadable event"
            yield Finding(
                check=Check.DEAD_LETTER_KEPT,
                message=f"the {what} at partition {partition}, offset {offset} is not among the dead letters",
            )

    def _sent_again(self) -> Iterator[Finding]:
        """A letter is marked REPLAYED once the broker has its event again; that can be read."""
        if not self.events.is_whole():
            return
        marked = _letters().filter(state=DeadLetterState.REPLAYED, reason__in=READABLE)
        for pk, request_id in marked.values_list("pk", "request_id"):
            entry = None if request_id is None else self.events.first.get(request_id)
            if entry is not None and not self.events.again.get(event_of(entry).request_id):
                yield finding(
                    Check.LETTER_IS_WHOLE,
                    entry,
                    f"dead letter {pk} is marked as sent again, and its event is in the log once",
                )


def _letters() -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(original_topic=settings.CONFIG.kafka.topic)


def _first_offsets(places: Iterable[Place]) -> dict[int | None, int]:
    """By partition."""
    first: dict[int | None, int] = {}
    for partition, offset in places:
        if offset is not None:
            first[partition] = min(first.get(partition, offset), offset)
    return first
