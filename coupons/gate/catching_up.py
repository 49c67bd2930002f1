"""Tell a gate what it missed, and correct one that counts too many.

Behind: Redis was away when a batch was decided, and kept what it had. Such a gate counts too few as issued,
and its reservations of decided requests stand. Together they may still be the right sum, but nothing corrects
them until the next batch of that coupon, and after the last one nothing ever would.

A consumer that died between its commit and telling Redis leaves the same behind; who takes its partitions
over begins after what it decided, and frees it (``free_decided``).

Ahead: the row was set back by hand, or the database is an older one (restored, or a replica that lags). In
the second case the gate is right, until the events are decided again. So a count is lowered only to a row
whose database has decided all there is of the coupon in the log.
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

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 10_000  #: reservations looked at under one lock of the coupon's row
_IN_AT_ONCE: Final = 1_000
_LOG_TIMEOUT_S: Final = 5.0


class CatchingUp:
    """Looks now and then. Who is behind once may be waiting for a consumer between commit and telling."""

    def __init__(self) -> None:
        self._wrong: dict[int, tuple[int, int]] = {}

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
        for coupon_id in behind:
            _notify(coupon_id, counted=counts[coupon_id])
        ahead = {pk: counted for pk, (counted, issued) in still.items() if counted > issued}
        return behind + (_correct(ahead) if ahead else [])


def free_decided() -> list[int]:
    """Free reservations of decided requests, and count what was won; returns their coupons.

    Raises GateUnavailable or a database error. A consumer that is just telling the same is no obstacle.
    """
    reserved = gate.reservations(limit=MOST_AT_ONCE)
    decided = _statuses([claim.request_id for claim in reserved])
    missed = sorted({claim.coupon_id for claim in reserved if claim.request_id in decided})
    counts = gate.issued_counts() if missed else {}
    for coupon_id in missed:
        _notify(coupon_id, counted=counts.get(coupon_id, 0))
    return missed


def _issued_counts(coupon_ids: Collection[int]) -> dict[int, int]:
    ids = list(coupon_ids)
    return {
        pk: issued_count
        for start in range(0, len(ids), _IN_AT_ONCE)
        for pk, issued_count in Coupon.objects.filter(pk__in=ids[start : start + _IN_AT_ONCE]).values_list(
            "pk", "issued_count"
        )
    }


def _notify(coupon_id: int, *, counted: int) -> None:
    """Count and decided reservations change in one step: no slot is counted twice or not at all.

    Where there are too many for one step, the count rises with each by the winners that it frees.
    """
    reserved = gate.reservations(limit=None, coupon_id=coupon_id)
    freed = 0
    for start in range(0, max(1, len(reserved)), MOST_AT_ONCE):
        some = reserved[start : start + MOST_AT_ONCE]
        with transaction.atomic():
            # Under the row's lock the outcomes are those that the row counts.
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
        for start in range(0, len(request_ids), _IN_AT_ONCE)
        for pk, status in IssueOutcome.objects.filter(
            pk__in=request_ids[start : start + _IN_AT_ONCE]
        ).values_list("pk", "status")
    }


def _correct(counted: Mapping[int, int]) -> list[int]:
    """Lower these counts to the rows', where all that the log has of a coupon is decided in this database."""
    undecided = {request.event.coupon_id for request in backlog.read(timeout_s=_LOG_TIMEOUT_S).requests}
    corrected = []
    for coupon_id in sorted(counted.keys() - undecided):
        with transaction.atomic():
            # Nobody commits a decision on it until the gate is corrected.
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
