"""Notify a gate of decisions that it missed, and correct a gate that counts too many.

A gate is behind if Redis was away when a batch was decided, and kept its data. Such a gate counts too few as
issued and still holds reservations of decided requests. The sum of both may still be right, but nothing
corrects them until the next batch of that coupon, and after the last batch nothing ever would.

A consumer that died between its commit and notifying the gate leaves the gate behind as well. The consumer
that takes over its partitions begins after the decided events, and frees their reservations
(``free_decided``).

A gate is ahead if the row was set back by hand, or if the database is an older one (restored, or a replica
that lagged). In the second case the gate is right, until the events are decided again. So a count is lowered
to a row's only when that database has decided every event that the log has of the coupon.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from django.db import transaction

from coupons import coupon_cache
from coupons.claim import Claim
from coupons.eventlog import backlog
from coupons.gate.admission import (
    Decisions,
    gate,
)
from coupons.models import Coupon, IssueOutcome
from coupons.outcomes import RequestStatus
from runtime.chunks import in_chunks

log = logging.getLogger(__name__)

#: Reservations that are looked at under one lock of the coupon's row. More, and deciding waits for the lock
#: longer; fewer, and a large gate takes more steps.
MOST_AT_ONCE: Final = 10_000
#: Reservations that are looked at for decided ones, of all coupons and of each. A paused coupon may have a
#: million, and one decided reservation of a coupon is enough to notify its gate. More of each, and paused
#: coupons hide those behind them; fewer, and a coupon that goes on hides its own.
MOST_LOOKED_AT: Final = 100_000
MOST_OF_ONE: Final = 1_000
#: The same at each look, which comes every two seconds: one stale reservation among them is enough, and they
#: stand in no order. More, and in a rush the database is kept busy; fewer, and a few stale ones are found
#: later.
_AT_A_LOOK: Final = (10_000, 100)
_IN_AT_ONCE: Final = 1_000  #: ids in one IN list: a bound on the statement's size
#: Reading the undecided events. Longer, and a silent broker keeps housekeeping from its other work; shorter,
#: and a large backlog cannot be read, so that a gate that counts too many refuses claims for longer.
_LOG_TIMEOUT_S: Final = 5.0


class CatchingUp:
    """Compares gates with the database at intervals, and mends what is as wrong at two looks in a row.

    One look is not enough: a consumer may be between its commit and notifying the gate. Runs in the thread of
    housekeeping.
    """

    def __init__(self) -> None:
        self._wrong: dict[int, tuple[int, int]] = {}
        self._over: Mapping[UUID, int] = {}

    def look(self) -> list[int]:
        """Mend the gates that are as wrong as they were at the last look; returns their coupons.

        Raises GateUnavailable, LogUnavailable or a database error.
        """
        counts = gate.issued_counts()
        rows = _issued_counts(counts)
        wrong = {pk: (counts[pk], rows[pk]) for pk in rows if counts[pk] != rows[pk]}
        still = {pk: pair for pk, pair in wrong.items() if self._wrong.get(pk) == pair}
        self._wrong = wrong
        behind = [pk for pk, (counted, issued) in still.items() if counted < issued]
        behind += sorted(self._still_reserved() - set(behind))
        for coupon_id in behind:
            _notify(coupon_id, counted=counts.get(coupon_id, 0))
        ahead = {pk: counted for pk, (counted, issued) in still.items() if counted > issued}
        return behind + (_correct(ahead) if ahead else [])

    def _still_reserved(self) -> set[int]:
        """The coupons that have the same decided reservations as at the last look.

        Their count may be right all the same: after a failover two masters may live beside each other for
        seconds, and one of them heard what the other one was not told.
        """
        over = _decided_reservations(*_AT_A_LOOK)
        still = {coupon_id for request_id, coupon_id in over.items() if request_id in self._over}
        self._over = over
        return still


def free_decided() -> list[int]:
    """Free reservations of decided requests, and count their winners as issued; returns their coupons.

    Raises GateUnavailable or a database error. A consumer that notifies the same gate meanwhile does no harm.
    """
    missed = sorted({*_decided_reservations(MOST_LOOKED_AT, MOST_OF_ONE).values()})
    counts = gate.issued_counts() if missed else {}
    for coupon_id in missed:
        _notify(coupon_id, counted=counts.get(coupon_id, 0))
    return missed


def _decided_reservations(limit: int, of_each: int) -> dict[UUID, int]:
    """The coupons of requests that are decided and have a reservation all the same, by request id."""
    reserved = gate.reservations(limit=limit, of_each=of_each)
    decided = _statuses([claim.request_id for claim in reserved])
    return {claim.request_id: claim.coupon_id for claim in reserved if claim.request_id in decided}


def _issued_counts(coupon_ids: Collection[int]) -> dict[int, int]:
    return {
        pk: issued_count
        for some in in_chunks(coupon_ids, _IN_AT_ONCE)
        for pk, issued_count in Coupon.objects.filter(pk__in=some).values_list("pk", "issued_count")
    }


def _notify(coupon_id: int, *, counted: int) -> None:
    """Change count and decided reservations in one step, so that no slot is counted twice or not at all.

    Where there are too many reservations for one step, each step raises the count by the winners that it
    frees.
    """
    reserved = gate.reservations(limit=None, coupon_id=coupon_id)
    freed = 0
    for start in range(0, max(1, len(reserved)), MOST_AT_ONCE):
        some = reserved[start : start + MOST_AT_ONCE]
        with transaction.atomic():
            # Under the row's lock, outcomes and row agree: the outcomes are those that the row counts.
            coupon = Coupon.objects.select_for_update().filter(pk=coupon_id).first()
            statuses = _statuses([claim.request_id for claim in some])
        if coupon is None:
            return
        counted += sum(status == RequestStatus.ISSUED for status in statuses.values())
        if start + MOST_AT_ONCE >= len(reserved):
            counted = coupon.issued_count
        _settle(coupon, some, statuses, issued_count=min(counted, coupon.issued_count))
        freed += len(statuses)
    log.warning("the gate of coupon %s had missed decisions, %d of them now freed", coupon_id, freed)


def _settle(
    coupon: Coupon, reserved: Sequence[Claim], statuses: Mapping[UUID, str], *, issued_count: int
) -> None:
    over = [(claim, False) for claim in reserved if claim.request_id in statuses]
    gate.notify([Decisions(coupon_id=coupon.pk, epoch=coupon.epoch, issued_count=issued_count, decided=over)])


def _statuses(request_ids: Sequence[UUID]) -> dict[UUID, str]:
    return {
        pk: status
        for some in in_chunks(request_ids, _IN_AT_ONCE)
        for pk, status in IssueOutcome.objects.filter(pk__in=some).values_list("pk", "status")
    }


def _correct(counted: Mapping[int, int]) -> list[int]:
    """Lower these counts to the rows', where this database has decided all of the coupon's events."""
    found = backlog.read(timeout_s=_LOG_TIMEOUT_S, deferred_of=())
    undecided = found.not_whole.union(request.event.coupon_id for request in found.requests)
    corrected = []
    for coupon_id in sorted(counted.keys() - undecided):
        with transaction.atomic():
            # Under this lock no decision on the coupon is committed until its gate is corrected.
            Coupon.objects.select_for_update().filter(pk=coupon_id).first()
            coupon = coupon_cache.cached_coupon(coupon_id, fresh=True)
            if (
                coupon is not None
                and coupon.issued_count < counted[coupon_id]
                and gate.correct(coupon, seen=counted[coupon_id])
            ):
                corrected.append(coupon_id)
    if corrected:
        log.warning("the gates of coupons %s counted more than was issued: corrected", corrected)
    return corrected
