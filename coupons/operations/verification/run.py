"""Runs the checks and makes the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from coupons.eventlog import backlog
from coupons.eventlog.backlog import Entry, LogUnavailable, Positions
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset
from coupons.gate.admission import GateUnavailable
from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.operations.verification import database, deferred, gate, letters, positions
from coupons.operations.verification.findings import WITHOUT_LOG, Check, Finding, Report
from coupons.operations.verification.log import LogCheck
from coupons.operations.verification.snapshot import snapshot
from coupons.outcomes import RequestStatus
from runtime.operator_language import marked, say

#: For each next message. Longer than elsewhere, because an operator waits; a broker silent for so long is
#: away.
_LOG_TIMEOUT_S: Final = 30.0
#: Longer than a consumer takes from its commit to notifying the gate. Shorter, and that moment causes
#: findings.
SECOND_LOOK_AFTER_S: Final = 2.0
Progress = Callable[[int, int], None]  #: gets how much is done, and of how much


def verify(*, coupon_id: int | None, from_topic: bool, on_progress: Progress) -> Report:
    """Check all coupons, or one. ``from_topic`` replays the whole log too. Raises LogUnavailable."""
    report = Report()
    coupons = _coupons(coupon_id)
    for number, coupon in enumerate(coupons, start=1):
        with snapshot():
            report.findings += [
                found for row in _coupons(coupon.pk) for found in (*database.check(row), *deferred.check(row))
            ]
        on_progress(number, len(coupons))
    report.count(marked("coupons"), len(coupons))
    outcomes, claims = IssueOutcome.objects.all(), UserCoupon.objects.all()
    if coupon_id is not None:
        outcomes, claims = outcomes.filter(coupon_id=coupon_id), claims.filter(coupon_id=coupon_id)
    with snapshot():
        report.findings += letters.check(coupon_id)
        report.findings += [] if coupon_id is not None else _orphans()
    report.count(marked("outcomes"), outcomes.count())
    report.count(marked("userCoupons"), claims.count())
    if from_topic:
        _replay(report, coupon_id, on_progress)
    else:
        report.not_looked_at.append(say(WITHOUT_LOG))
    _look_at_gates(report, coupons)
    return report


def gate_findings(coupons: Sequence[Coupon]) -> list[Finding]:
    """The findings about gates of both looks, two seconds apart.

    Raises GateUnavailable, LogUnavailable.
    """
    first = _gates_once(coupons)
    if not first:
        return []
    time.sleep(SECOND_LOOK_AFTER_S)
    again = set(_gates_once(_coupons_by_id({finding.coupon_id for finding in first})))
    return [finding for finding in first if finding in again]


def _gates_once(coupons: Iterable[Coupon]) -> list[Finding]:
    undecided = backlog.read(timeout_s=_LOG_TIMEOUT_S, deferred_of=()).requests
    rows = _coupons_by_id({coupon.pk for coupon in coupons})
    return [finding for coupon in rows for finding in gate.check(coupon, undecided)]


def _look_at_gates(report: Report, coupons: Sequence[Coupon]) -> None:
    try:
        report.findings += gate_findings(coupons)
        report.count(marked("gates"), len(coupons))
    except GateUnavailable as error:
        report.unchecked.append(
            say("Redis was not checked, it does not answer: {error}", error=say(str(error)))
        )
    except LogUnavailable as error:
        report.unchecked.append(
            say("Redis was not checked, the log cannot be read: {error}", error=say(str(error)))
        )


def _replay(report: Report, coupon_id: int | None, on_progress: Progress) -> None:
    topic = positions.look_at_topic()
    at = {
        partition: replace(each, end=topic.end.get(partition, each.end))
        for partition, each in backlog.positions(timeout_s=_LOG_TIMEOUT_S).items()
    }
    whole = sum(each.end - each.first for each in at.values())
    check = LogCheck(at, coupon_id=coupon_id)
    read = 0
    for place, request in backlog.read_all(at, patience_s=_LOG_TIMEOUT_S):
        check.add(place, request)
        read += 1
        on_progress(read, whole)
    check.events.gone_before(positions.look_at_topic().first)
    with snapshot():
        report.findings += check.findings(read_on=_read_on)
        report.findings += positions.check(check.events.read_to, _read_on)
    report.count(marked("events"), read)
    report.count(marked("outcomesWithTheirEvent"), check.noted.with_event)
    report.notes += check.noted.notes()


def _read_on(offsets: Mapping[int, NextOffset]) -> Iterator[Entry]:
    """The messages written since the log was read: the snapshot came later, and may have their outcomes."""
    end = positions.look_at_topic().end
    at = {
        partition: Positions(
            first=FirstOffset(offset),
            next_to_decide=offset,
            end=EndOffset(max(offset, end.get(partition, offset))),
        )
        for partition, offset in offsets.items()
    }
    yield from backlog.read_all(at, patience_s=_LOG_TIMEOUT_S)


def _orphans() -> Iterable[Finding]:
    """Winners of coupons that do not exist."""
    known = Coupon.objects.values("pk")
    lost = IssueOutcome.objects.filter(status=RequestStatus.ISSUED).exclude(coupon_id__in=known)
    for outcome in lost[:20]:
        yield Finding(
            check=Check.WINNER_HAS_COUPON,
            coupon_id=outcome.coupon_id,
            request_id=str(outcome.pk),
            message=say(
                "user {user_id} was told ISSUED, and coupon {coupon_id} does not exist",
                user_id=outcome.user_id,
                coupon_id=outcome.coupon_id,
            ),
        )
    yield from database.whole(IssueOutcome.objects.exclude(coupon_id__in=known))


def _coupons(coupon_id: int | None) -> list[Coupon]:
    coupons = Coupon.objects.order_by("pk")
    return list(coupons if coupon_id is None else coupons.filter(pk=coupon_id))


def _coupons_by_id(ids: set[int | None]) -> list[Coupon]:
    return list(Coupon.objects.filter(pk__in=[pk for pk in ids if pk is not None]).order_by("pk"))
