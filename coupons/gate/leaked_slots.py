"""Find reservations whose event never came to the log, and give their slots back.

A process may die, or lose its broker, between reserving and publishing. One round:

1. Note the reservations, and the disclosed requests, which may have no reservation any more. Of both a bound
   number, so each round begins behind the one before (``Turns``).
2. Wait until no publish that began before the note can still be on its way: twice the longest publish
   timeout that any API may have. This process's own setting says nothing about the APIs'.
3. Note the end of each partition, once all its replicas in sync have been there for a while: a leader that
   had too few of them may hold events that nobody can read before they are back, however long that takes.
4. When a partition is decided up to the noted end, take the noted reservations of its coupons that still
   stand without an outcome.
5. Leave out those whose event is deferred (``coupons/eventlog/deferred.py``). Look for the others' events in
   the whole log, decided or not, from before they were reserved. An event that is found behind the position
   was passed over: the position goes back to that event, and the event is decided.
6. A request without an event is decided REJECTED / BROKER_UNAVAILABLE. If the broker had acknowledged it, or
   the log does not reach back so far, its event may have been deleted: FAILED / EVENT_LOST, logged as an
   error.

A partition that stands still keeps its own coupons waiting and no others: the round ends without them. If the
topic had fewer partitions once, an event may stand in another partition than its key leads to now: step 5
finds it if it is there, step 6 calls it EVENT_LOST if it was deleted, and if it may have been in a lost end,
its request waits.

The outcome is written before the slot is given back, and under the coupon's row lock. So an event that
is published later all the same (by a process frozen between reserving and publishing) finds its request
decided and changes nothing. No clock is compared between machines. See docs/decisions/admission.md.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from coupons.claim import Claim
from coupons.eventlog import backlog, deferred, log_search, positions
from coupons.eventlog.backlog import Positions
from coupons.eventlog.broker_probe import BrokerProbe
from coupons.eventlog.events import partition_key, partition_of
from coupons.eventlog.place import EndOffset, NextOffset, Place
from coupons.gate import disclosed, pending
from coupons.gate.admission import GateUnavailable, gate
from coupons.models import Coupon, IssueOutcome
from coupons.outcomes import Code, DeadLetterReason, RequestStatus
from runtime import metrics
from runtime.config import LONGEST_PUBLISH_MS

log = logging.getLogger(__name__)

#: Reservations of one round: a bound on memory and on the search. More, and a round of a large backlog takes
#: longer; fewer, and leaked slots beyond them wait for a later round.
MOST_AT_ONCE: Final = 10_000
#: Of one coupon: one that is paused, or whose partition stands still, may have any number, and must not fill
#: a round. More, and fewer coupons have their turn in a round; fewer, and one coupon's leaked slots take more
#: rounds.
MOST_OF_ONE: Final = 1_000
#: For the broker's answers and for each next message. Longer, and a silent broker keeps housekeeping from its
#: other work; shorter, and a slow one makes the round begin anew.
_LOG_TIMEOUT_S: Final = 5.0
#: A partition whose position has not moved for so long is waited for no more in this round. Shorter, and the
#: partition of a consumer that died is left to the next round, which begins anew; longer, and slots that
#: leaked since the note wait.
STILL_S: Final = 30.0
#: A round ends after so long, even if a partition is still being decided. Shorter, and a slow partition's
#: leaked slots are left to the next round; longer, and slots that leaked since the note wait for that
#: partition.
_LONGEST_S: Final = 600.0
#: An API begins to publish within its timeout after reserving, and gives up within another timeout. Shorter,
#: and a publish that is still on its way loses its slot; longer, and leaked slots refuse claims for longer.
PUBLISHABLE_S: Final = 2 * LONGEST_PUBLISH_MS / 1000
#: Once a partition's replicas are all there, its readable end is the true one after so long, a few of a
#: replica's fetches. Shorter, and an event that comes into view with them is called never published; longer,
#: and leaked slots refuse claims for longer.
SETTLED_S: Final = 5.0
#: A request's id and its event's time are of one clock, the API's, which may be corrected in between. A
#: larger correction, and the event is looked for too late in the log; more here, and the search reads more of
#: the log.
CLOCK_JUMPS_MS: Final = 3_600_000
#: Events do not stand in the order of their times: several APIs write, each by its own clock, and some wait
#: longer for the broker. So a deleted event may be younger by so much than the oldest one left. Less, and a
#: deleted event passes for one that was never published; more, and a leaked slot is called EVENT_LOST.
_OUT_OF_ORDER_MS: Final = 60_000


#: Gets claims that ended without their event, and each one's reason, after they are decided.
Tell = Callable[[Sequence[tuple[Claim, str]]], object]


def _nobody(ended: Sequence[tuple[Claim, str]]) -> None: ...


@dataclass(slots=True)
class Turns:
    """How far the last round came, for the next one: what waits for long must not fill all rounds.

    ``coupon_id``: whose reservations were noted last; ``request_id``: of the disclosed request noted last.
    """

    coupon_id: int = 0
    request_id: UUID | None = None


class LeakSearch:
    """One round of the search. ``advance`` takes the next step if its time has come.

    ``turns``: of the caller's rounds. ``reserved``: the reservations to look after, where they are known.
    ``tell``: hears of each claim that ended here, and why.
    ``waiting``: claims that are noted and not settled yet. When the round is over, these are the claims whose
    partitions stand still; the next round notes them anew. ``given_back``: the claims given back so far.
    Runs in the thread of housekeeping: it waits for broker, database and Redis.
    """

    def __init__(
        self,
        turns: Turns | None = None,
        *,
        reserved: Sequence[Claim] | None = None,
        tell: Tell = _nobody,
    ) -> None:
        turns = turns or Turns()
        suspects = disclosed.suspects(MOST_AT_ONCE, after=turns.request_id)
        turns.request_id = suspects[-1].request_id if suspects else None
        self._disclosed = frozenset(suspects)
        if reserved is None:
            reserved = _reserved(after=turns.coupon_id)
            if reserved:  # none while Redis is away
                turns.coupon_id = reserved[-1].coupon_id
        self.waiting = list(dict.fromkeys([*reserved, *self._disclosed]))
        self.given_back: list[Claim] = []
        self._tell = tell
        self._publishable_until = time.monotonic() + PUBLISHABLE_S
        self._probe = BrokerProbe(settings.CONFIG.kafka.topic)
        self._whole_since: dict[int, float] = {}  # since when each look found all its replicas
        self._partitions = 0
        self._ends: dict[int, EndOffset] = {}
        self._moved: dict[int, tuple[NextOffset, float]] = {}  # the position as last seen, and since when

    def advance(self) -> list[Claim] | None:
        """None while the round goes on; the claims that were given back, perhaps none, when it is over.

        Raises LogUnavailable or a database error; begin a new round after that.
        """
        if not self.waiting:
            return []
        if time.monotonic() < self._publishable_until:
            return None
        at = backlog.positions(timeout_s=_LOG_TIMEOUT_S)
        self._partitions = self._partitions or len(at)
        self._note_ends(at)
        wanted = {self._partition(claim) for claim in self.waiting}
        ends = {partition: self._ends[partition] for partition in wanted & self._ends.keys()}
        undecided = backlog.undecided_to(ends, at, timeout_s=_LOG_TIMEOUT_S) | (wanted - ends.keys())
        self._look_after(undecided, at)
        if self.waiting and self._may_go_on(undecided, at):
            return None
        return self.given_back

    def _note_ends(self, at: Mapping[int, Positions]) -> None:
        look = self._probe.look(timeout_s=_LOG_TIMEOUT_S, closely=True)
        whole, now = look.whole if look else frozenset(), time.monotonic()
        self._whole_since = {each: self._whole_since.get(each, now) for each in whole}
        for partition, since in self._whole_since.items():
            if now - since >= SETTLED_S and partition in at:
                self._ends.setdefault(partition, at[partition].end)

    def _partition(self, claim: Claim) -> int:
        return partition_of(partition_key(claim.coupon_id), self._partitions)

    def _look_after(self, undecided: Collection[int], at: Mapping[int, Positions]) -> None:
        lost_at_ms = positions.halted_at_ms() if any(each.has_lost_end for each in at.values()) else {}
        ready = [
            claim
            for claim in self.waiting
            if self._partition(claim) not in undecided
            and not _may_be_in_a_lost_end(claim, lost_at_ms, partitions=self._partitions)
        ]
        if not ready:
            return
        # A paused coupon may have a million reservations, which need not be read for its own sake.
        aside = deferred.among([claim.request_id for claim in ready])
        suspects = [claim for claim in ready if claim.request_id not in aside]
        standing = _still_reserved({claim.coupon_id for claim in suspects}) | self._disclosed
        gone = _without_event([claim for claim in suspects if claim in standing], at)
        whole_from_ms = log_search.begins_at_ms(timeout_s=_LOG_TIMEOUT_S) if gone else 0
        self.given_back += give_back(gone, whole_from_ms=whole_from_ms, tell=self._tell)
        done = set(ready)
        self.waiting = [claim for claim in self.waiting if claim not in done]

    def _may_go_on(self, undecided: Collection[int], at: Mapping[int, Positions]) -> bool:
        """Whether the position of one of these partitions moved lately, and the round may wait for it."""
        now = time.monotonic()
        if now > self._publishable_until + _LONGEST_S:
            return False
        going_on = [each for each in undecided if each in at and not at[each].stands_still]
        for partition in going_on:
            following = at[partition].next_to_decide
            if partition not in self._moved or self._moved[partition][0] != following:
                self._moved[partition] = following, now
        return any(now - self._moved[partition][1] < STILL_S for partition in going_on)


def _reserved(*, after: int) -> list[Claim]:
    """The reservations; none while Redis is away: disclosed requests get their outcome all the same."""
    try:
        return gate.reservations(limit=MOST_AT_ONCE, of_each=MOST_OF_ONE, after=after)
    except GateUnavailable:
        return []


def _still_reserved(coupon_ids: Collection[int]) -> set[Claim]:
    try:
        return {
            claim
            for coupon_id in sorted(coupon_ids)
            for claim in gate.reservations(limit=None, coupon_id=coupon_id)
        }
    except GateUnavailable:
        return set()


def _may_be_in_a_lost_end(claim: Claim, lost_at_ms: Mapping[int, int], *, partitions: int) -> bool:
    """Whether the claim's event may have stood in a lost end, while the topic had fewer partitions.

    Nothing records how many partitions there were when the event was written. ``lost_at_ms``: when each loss
    was found.
    """
    key = partition_key(claim.coupon_id)
    return any(
        not _is_made_after(claim.request_id, at_ms + CLOCK_JUMPS_MS)
        and any(partition_of(key, fewer) == partition for fewer in range(1, partitions))
        for partition, at_ms in lost_at_ms.items()
    )


def _is_made_after(request_id: UUID, at_ms: int) -> bool:
    """Whether the id proves that the request was made after this moment. An id without a time does not."""
    return not at_ms or (request_id.version == 7 and request_id.int >> 80 > at_ms)


def _without_event(claims: Sequence[Claim], at: Mapping[int, Positions]) -> list[Claim]:
    """The claims whose event is nowhere in the log. Events that were passed over are decided from now on.

    Deferred events are behind the position on purpose, whatever the log still has of them.
    """
    # Before the outcomes: one that is decided in between has its outcome then.
    aside = deferred.among([claim.request_id for claim in claims])
    claims = [claim for claim in claims if claim.request_id not in aside]
    undecided = set(claims) - set(_decided(claims))
    request_ids = {claim.request_id for claim in undecided}
    if not request_ids:
        return list(claims)
    found = log_search.find(request_ids, since_ms=_since_ms(request_ids), patience_s=_LOG_TIMEOUT_S)
    _decide_again([place for place in found.values() if _is_behind(place, at)])
    return [claim for claim in claims if claim.request_id not in found]


def _is_behind(place: Place, at: Mapping[int, Positions]) -> bool:
    return place.partition in at and place.offset < at[place.partition].next_to_decide


def _decide_again(places: Sequence[Place]) -> None:
    back: dict[int, NextOffset] = {}
    for partition, offset in places:
        back[partition] = NextOffset(min(offset, back.get(partition, offset)))
    if back:
        log.error("%d events were passed over, deciding goes back to them: %s", len(places), back)
        positions.move_back(back)


def _decided(claims: Sequence[Claim]) -> list[Claim]:
    over = IssueOutcome.objects.filter(pk__in=[claim.request_id for claim in claims])
    decided = set(over.values_list("pk", flat=True))
    return [claim for claim in claims if claim.request_id in decided]


def _since_ms(request_ids: Collection[UUID]) -> int:
    """A moment before the first of them was reserved; 0, the log's beginning, if an id holds no time."""
    if any(request_id.version != 7 for request_id in request_ids):
        return 0
    return max(0, min(request_id.int >> 80 for request_id in request_ids) - CLOCK_JUMPS_MS)


def give_back(claims: Sequence[Claim], *, whole_from_ms: int = 0, tell: Tell = _nobody) -> list[Claim]:
    """Decide these claims as never published, unless they were decided before, and release their slots.

    ``whole_from_ms`` (Unix milliseconds): events written before this moment may have been deleted from the
    log. Returns the claims that were decided here. Waits for the database and Redis: never in the loop.
    """
    by_coupon: defaultdict[int, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_coupon[claim.coupon_id].append(claim)
    given_back: list[Claim] = []
    for coupon_id, group in sorted(by_coupon.items()):
        ended = _decide(coupon_id, group, whole_from_ms=whole_from_ms)
        given_back += [claim for claim, _ in ended]
        tell(ended)
        try:
            gate.release(group)
        except GateUnavailable as error:
            log.warning("decided, and their slots are freed when Redis is back: %s", error)
    metrics.SLOTS_RECLAIMED.inc(len(given_back))
    return given_back


def _decide(coupon_id: int, claims: Sequence[Claim], *, whole_from_ms: int) -> list[tuple[Claim, str]]:
    """The claims that were undecided, each with its reason."""
    now = timezone.now()
    with transaction.atomic(durable=True):
        # The consumer decides under the same lock: each sees what the other has decided.
        coupon = Coupon.objects.select_for_update().filter(pk=coupon_id).first()
        decided = set(_decided(claims))
        undecided = [claim for claim in claims if claim not in decided]
        lost = _lost([claim.request_id for claim in undecided], whole_from_ms=whole_from_ms)
        IssueOutcome.objects.bulk_create(
            IssueOutcome(
                request_id=claim.request_id,
                coupon_id=coupon_id,
                user_id=claim.user_id,
                status=RequestStatus.FAILED if claim.request_id in lost else RequestStatus.REJECTED,
                reason=_reason(is_lost=claim.request_id in lost),
                coupon_epoch=int(coupon.epoch) if coupon else None,
                requested_at=now,
                processed_at=now,
            )
            for claim in undecided
        )
    for claim in undecided:
        _log_end(claim, is_lost=claim.request_id in lost)
    return [(claim, _reason(is_lost=claim.request_id in lost)) for claim in undecided]


def _lost(request_ids: Sequence[UUID], *, whole_from_ms: int) -> set[UUID]:
    """The requests whose events were in the log, or may have been before its beginning was deleted."""
    certain_from_ms = whole_from_ms + _OUT_OF_ORDER_MS if whole_from_ms else 0
    cut_off = {each for each in request_ids if not _is_made_after(each, certain_from_ms)}
    try:
        return cut_off | gate.guarded(lambda: pending.acknowledged(request_ids))
    except GateUnavailable:
        return cut_off


def _reason(*, is_lost: bool) -> str:
    return DeadLetterReason.EVENT_LOST.value if is_lost else Code.BROKER_UNAVAILABLE.value


def _log_end(claim: Claim, *, is_lost: bool) -> None:
    named = "EventId: %s, UserId: %s, CouponId: %s"
    values = claim.request_id, claim.user_id, claim.coupon_id
    if is_lost:
        log.error(f"LOST: accepted, and its event is not in the log any more - {named}", *values)
    else:
        log.warning(f"slot given back, its event was never published - {named}", *values)
