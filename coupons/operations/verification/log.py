"""Checks of the log: every event is decided, at its place, and the winners are the first in its order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from django.conf import settings
from django.db.models import QuerySet

from coupons.eventlog.backlog import Positions
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import NextOffset, Place
from coupons.models import Coupon, DeadLetter, DeadLetterState, LogPosition, UserCoupon
from coupons.operations import rehearsals
from coupons.operations.verification import positions as group_positions
from coupons.operations.verification.deferred import DeferredInLog
from coupons.operations.verification.events import Events
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.operations.verification.matching import Matching
from coupons.operations.verification.noted import Noted
from coupons.operations.verification.outcome_rows import READABLE, OutcomeRow, existing, outcomes_of
from coupons.operations.verification.places import Places, ReadOn, nothing_more
from coupons.operations.verification.race import Race
from coupons.outcomes import RequestStatus
from runtime.operator_language import say


class LogCheck:
    """Gets the log's messages, in order; ``findings`` then returns what is wrong, and fills ``noted``."""

    def __init__(self, positions: Mapping[int, Positions], *, coupon_id: int | None) -> None:
        self._positions = positions
        self.events = Events(positions, coupon_id=coupon_id)
        self.noted = Noted()

    def add(self, place: Place, request: IssueRequest | None) -> None:
        self.events.add(place, request)

    def findings(self, *, read_on: ReadOn = nothing_more) -> Iterator[Finding]:
        """Check. All reading of the database is done here, so that one snapshot gives it one moment."""
        coupons = Coupon.objects.all()
        self._epochs = {coupon.pk: int(coupon.epoch) for coupon in coupons}
        self._reset = {coupon.pk for coupon in coupons if coupon.reset_at is not None} | rehearsals.removed()
        self._races: defaultdict[int, list[OutcomeRow]] = defaultdict(list)
        self._missing: defaultdict[int, list[IssueRequest]] = defaultdict(list)
        self._of_other_rows: defaultdict[int, list[tuple[IssueRequest, OutcomeRow]]] = defaultdict(list)
        self._deferred = DeferredInLog(self.events)
        self._failed: set[Place] = set()  # readable events in the dead letters
        next_offsets = {p: NextOffset(row.next_offset) for p, row in group_positions.rows().items()}
        places = Places(self.events, next_offsets=next_offsets)
        yield from self._each_event(places)
        for coupon_id in sorted({*self._races, *self._missing, *self._of_other_rows}):
            yield from self._coupon(coupon_id, self._races[coupon_id], self._missing[coupon_id])
        yield from self._dead_letters()
        yield from self._sent_again()
        yield from places.findings(read_on)
        self.noted.deferred = len(self._deferred)
        self.noted.deferred_elsewhere = self._deferred.of_no_event
        self.noted.of_no_event += places.of_no_event
        self.noted.with_event += sum(places.with_event.values())
        if LogPosition.objects.exists():
            self.noted.without_position = sorted(places.with_event.keys() - next_offsets.keys())
        self.noted.ahead = places.ahead

    def _each_event(self, places: Places) -> Iterator[Finding]:
        outcomes = outcomes_of(list(self.events.first))
        matching = Matching(self.events)
        for request_id, request in self.events.first.items():
            event = request.event
            row = outcomes.pop(request_id, None)  # frees memory: there may be a million
            if row is None and self._deferred.has(request):
                yield from self._deferred.misplaced(request)
                continue
            if row is None:
                self._missing[event.coupon_id].append(request)
                continue
            yield from matching.check(request, row)
            if self.events.stands_at(request_id, row.place):
                places.note(row)
            if row.status == RequestStatus.FAILED and row.place == request.place:
                self._failed.add(request.place)
            if not row.is_of_the_race or not row.is_of(event):
                continue
            if row.coupon_epoch == self._epochs.get(event.coupon_id):
                self._races[event.coupon_id].append(row.with_time(event.timestamp_ms))
            else:
                self._of_other_rows[event.coupon_id].append((request, row))
                self.noted.of_other_rows += 1
        yield from matching.given_up(each for race in self._races.values() for each in race)
        self.noted.given_up_perhaps += matching.given_up_perhaps

    def _is_behind(self, request: IssueRequest) -> bool:
        """Whether the event is behind the group's position and must be decided; beyond, it may be."""
        return request.place.offset < self._positions[request.place.partition].next_to_decide

    def _coupon(
        self, coupon_id: int, decided: list[OutcomeRow], missing: list[IssueRequest]
    ) -> Iterator[Finding]:
        yield from self._lost(coupon_id, decided, list(filter(self._is_behind, missing)))
        yield from self._rows_in_order(decided, self._of_other_rows[coupon_id])
        yield from self._deferred.passed_over(coupon_id, decided)
        # Beyond the position another group may have decided some events: stop at the first undecided one.
        open_ends = _first_places(request.place for request in missing if not self._is_behind(request))
        race = Race(coupon_id, [each for each in decided if each.is_before(open_ends)])
        yield from race.findings()
        self.noted.undecided += sum(not self._is_behind(request) for request in missing)
        self.noted.add(coupon_id, race)

    def _lost(
        self, coupon_id: int, decided: list[OutcomeRow], missing: list[IssueRequest]
    ) -> Iterator[Finding]:
        first_of_row = _first_places(each.place for each in decided)
        theirs = UserCoupon.objects.filter(coupon_id=coupon_id)
        winners = existing(theirs, "request_id", [request.event.request_id for request in missing])
        for request in missing:
            first = first_of_row.get(request.place.partition)
            is_before_all = first is None or request.place < first
            if coupon_id in self._reset and is_before_all and request.event.request_id not in winners:
                self.noted.before_reset += 1
                continue
            yield finding(
                Check.EVERY_EVENT_DECIDED,
                request.event.coupon_id,
                say(
                    "user {user_id}: accepted at partition {partition}, offset {offset}, behind the"
                    " group's position, without an outcome",
                    user_id=request.event.user_id,
                    partition=request.place.partition,
                    offset=request.place.offset,
                ),
                request.event.request_id,
            )

    def _rows_in_order(
        self, decided: list[OutcomeRow], of_other_rows: list[tuple[IssueRequest, OutcomeRow]]
    ) -> Iterator[Finding]:
        """Decisions on the coupon's earlier rows come before those on its present row, which is the last."""
        first_of_row = _first_places(each.place for each in decided)
        for request, each in of_other_rows:
            if (place := each.place) is not None and place > first_of_row.get(place.partition, place):
                yield finding(
                    Check.OUTCOME_MATCHES_EVENT,
                    request.event.coupon_id,
                    say(
                        "decided on another row of the coupon ({coupon_epoch}), after decisions on the "
                        "one that there is",
                        coupon_epoch=each.coupon_epoch,
                    ),
                    request.event.request_id,
                )

    def _dead_letters(self) -> Iterator[Finding]:
        kept = set(_letters().values_list("original_partition", "original_offset"))
        behind = {
            place
            for place in self.events.unreadable
            if place.offset < self._positions[place.partition].next_to_decide
            and not self.events.is_gone(place)
        }
        for partition, offset in sorted((behind | self._failed) - kept):
            what = (
                say("event, decided FAILED,")
                if (partition, offset) in self._failed
                else say("unreadable event")
            )
            yield Finding(
                check=Check.DEAD_LETTER_KEPT,
                message=say(
                    "the {what} at partition {partition}, offset {offset} is not among the dead letters",
                    what=what,
                    partition=partition,
                    offset=offset,
                ),
            )

    def _sent_again(self) -> Iterator[Finding]:
        """Letters marked REPLAYED whose event is not in the log again: the broker has it before the mark."""
        if not self.events.is_whole():
            return
        marked = _letters().filter(state=DeadLetterState.REPLAYED, reason__in=READABLE)
        for pk, request_id in marked.values_list("pk", "request_id"):
            request = None if request_id is None else self.events.first.get(request_id)
            if request is not None and not self.events.again.get(request.event.request_id):
                yield finding(
                    Check.LETTER_IS_WHOLE,
                    request.event.coupon_id,
                    say("dead letter {pk} is marked as sent again, and its event is in the log once", pk=pk),
                    request.event.request_id,
                )


def _letters() -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(original_topic=settings.CONFIG.kafka.topic)


def _first_places(places: Iterable[Place | None]) -> dict[int, Place]:
    """The first of these places in each partition."""
    first: dict[int, Place] = {}
    for place in places:
        if place is not None:
            first[place.partition] = min(place, first.get(place.partition, place))
    return first
