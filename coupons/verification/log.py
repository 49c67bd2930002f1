"""What the log shows: every event decided, winners the first distinct valid users in its order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings

from coupons.backlog import Entry, Positions
from coupons.events import CouponIssueEvent
from coupons.models import Coupon, DeadLetter, IssueOutcome, UserCoupon
from coupons.outcomes import Code, Decision, RequestStatus
from coupons.verification.findings import Check, Finding, made_at

_IN_AT_ONCE: Final = 1000
#: Rejections that say nothing about who came first.
_NOT_IN_THE_RACE: Final = {
    Decision.USER_NOT_FOUND.value,
    Decision.COUPON_CLOSED.value,
    Code.BROKER_UNAVAILABLE.value,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """An outcome, as far as the race is concerned."""

    status: str
    reason: str | None
    user_id: int | None
    coupon_id: int | None
    rank: int | None
    stock_left: int | None


class LogCheck:
    """Fed with the log's entries in order, then asked for what is wrong."""

    def __init__(self, positions: Mapping[int, Positions], *, coupon_id: int | None) -> None:
        self._positions = positions
        self._only = coupon_id
        self._first: dict[UUID, Entry] = {}  # the first place of each request
        self._unreadable: list[Entry] = []
        self._since_ms = {
            pk: int(made_at(created_at).timestamp() * 1000)
            for pk, created_at in Coupon.objects.values_list("pk", "created_at")
        }
        self.undecided = 0
        self.older_than_coupon = 0

    def add(self, entry: Entry) -> None:
        """Events that the group has not reached are counted and left alone."""
        if entry.offset >= self._positions[entry.partition].next_to_decide:
            self.undecided += entry.event is not None
        elif entry.event is None:
            self._unreadable.append(entry)
        elif entry.event.timestamp_ms < self._since_ms.get(entry.event.coupon_id, 0):
            self.older_than_coupon += 1  # of a coupon that was deleted or reset: its outcomes went with it
        elif self._only in (None, entry.event.coupon_id):
            self._first.setdefault(entry.event.event_id, entry)

    def findings(self) -> Iterator[Finding]:
        outcomes = _outcomes(list(self._first))
        by_coupon: defaultdict[int, list[Entry]] = defaultdict(list)
        for request_id, entry in self._first.items():
            event = _event(entry)
            decided = outcomes.get(request_id)
            if decided is None:
                yield _finding(
                    Check.EVERY_EVENT_DECIDED,
                    entry,
                    f"user {event.user_id}: accepted at partition {entry.partition}, offset {entry.offset}, "
                    "behind the committed offset, without an outcome",
                )
            elif (decided.user_id, decided.coupon_id) != (event.user_id, event.coupon_id):
                yield _finding(
                    Check.OUTCOME_MATCHES_EVENT,
                    entry,
                    f"the event is of user {event.user_id}, coupon {event.coupon_id}; the outcome of "
                    f"user {decided.user_id}, coupon {decided.coupon_id}",
                )
            else:
                by_coupon[event.coupon_id].append(entry)
        for coupon_id, entries in sorted(by_coupon.items()):
            yield from _race(coupon_id, entries, outcomes)
        yield from self._dead_letters()

    def _dead_letters(self) -> Iterator[Finding]:
        kept = set(
            DeadLetter.objects.filter(original_topic=settings.CONFIG.kafka.topic).values_list(
                "original_partition", "original_offset"
            )
        )
        for entry in self._unreadable:
            if (entry.partition, entry.offset) not in kept:
                yield Finding(
                    check=Check.DEAD_LETTER_KEPT,
                    message=f"the unreadable event at partition {entry.partition}, offset {entry.offset} "
                    "is not among the dead letters",
                )


def _race(coupon_id: int, entries: Sequence[Entry], outcomes: Mapping[UUID, _Decided]) -> Iterator[Finding]:
    """Replay one coupon's events in log order against their outcomes."""
    winners: set[int] = set()
    last_rank: dict[int, int] = {}
    holding_before = _holders_from_elsewhere(coupon_id, outcomes)
    for entry in sorted(entries, key=lambda entry: (entry.partition, entry.offset)):
        event = _event(entry)
        decided = outcomes[event.event_id]
        if decided.status == RequestStatus.FAILED or decided.reason in _NOT_IN_THE_RACE:
            continue
        if decided.status == RequestStatus.ISSUED:
            if event.user_id in winners:
                yield _finding(
                    Check.WINNERS_IN_LOG_ORDER, entry, f"user {event.user_id} was issued a second coupon"
                )
            before = last_rank.get(entry.partition, 0)
            if (decided.rank or 0) <= before:
                yield _finding(
                    Check.WINNERS_IN_LOG_ORDER,
                    entry,
                    f"user {event.user_id} has rank {decided.rank}, and came after rank {before}",
                )
            last_rank[entry.partition] = max(before, decided.rank or 0)
            winners.add(event.user_id)
        elif decided.reason == Decision.ALREADY_REQUESTED.value:
            if event.user_id not in winners | holding_before:
                yield _finding(
                    Check.WINNERS_IN_LOG_ORDER,
                    entry,
                    f"user {event.user_id} was told ALREADY_REQUESTED and had won nothing before",
                )
        elif event.user_id in winners:
            yield _finding(
                Check.WINNERS_IN_LOG_ORDER,
                entry,
                f"user {event.user_id} had won and was told {decided.reason}, not ALREADY_REQUESTED",
            )


def _holders_from_elsewhere(coupon_id: int, outcomes: Mapping[UUID, _Decided]) -> set[int]:
    """Users whose coupon does not come from an event of this log."""
    held = UserCoupon.objects.filter(coupon_id=coupon_id).values_list("user_id", "request_id")
    return {user_id for user_id, request_id in held if request_id is None or request_id not in outcomes}


def _outcomes(request_ids: Sequence[UUID]) -> dict[UUID, _Decided]:
    found: dict[UUID, _Decided] = {}
    for start in range(0, len(request_ids), _IN_AT_ONCE):
        rows = IssueOutcome.objects.filter(pk__in=request_ids[start : start + _IN_AT_ONCE])
        for pk, status, reason, user_id, coupon_id, rank, stock_left in rows.values_list(
            "pk", "status", "reason", "user_id", "coupon_id", "claim_rank", "stock_left"
        ):
            found[pk] = _Decided(
                status=status,
                reason=reason,
                user_id=user_id,
                coupon_id=coupon_id,
                rank=rank,
                stock_left=stock_left,
            )
    return found


def _event(entry: Entry) -> CouponIssueEvent:
    if entry.event is None:
        raise RuntimeError("an unreadable entry has no event")
    return entry.event


def _finding(check: Check, entry: Entry, message: str) -> Finding:
    event = _event(entry)
    return Finding(check=check, message=message, coupon_id=event.coupon_id, request_id=str(event.event_id))
