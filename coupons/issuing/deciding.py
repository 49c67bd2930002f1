"""The only writer of issued coupons: lock -> transaction (position, rows, outcomes) -> commit -> unlock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from coupons import selectors
from coupons.eventlog import positions
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.positions import Advance
from coupons.issuing import claim_rows, failures
from coupons.issuing.allocation import Allocation, CouponState, allocate
from coupons.issuing.failures import FailedEvent
from coupons.issuing.locks import coupon_locks
from coupons.models import Coupon, CouponStatus, IssueOutcome
from coupons.outcomes import Decision, RequestStatus


class StockChangedUnderLock(RuntimeError):
    """The coupon row changed although it was locked; the transaction was rolled back."""


class CouponsNotFound(LookupError):
    """These events' coupons do not exist; the transaction was rolled back. The events become dead letters."""

    def __init__(self, requests: Sequence[IssueRequest]) -> None:
        super().__init__(f"there are no coupons {sorted({r.event.coupon_id for r in requests})}")
        self.requests = requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What one committed batch did.

    ``allocations`` in log order; ``coupons``: their rows after the commit, by id;
    ``user_coupon_ids``: the winners', by request id.
    """

    allocations: list[Allocation]
    coupons: dict[int, CouponSnapshot]
    user_coupon_ids: dict[UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponSnapshot:
    epoch: str  #: another one if the row was deleted and made anew
    issued_count: int


def issue_coupons(
    requests: Sequence[IssueRequest],
    *,
    failed: Sequence[FailedEvent] = (),
    advances: Sequence[Advance] = (),
) -> Issued:
    """Decide these requests, given in log order, and write the decisions, in one transaction.

    ``failed``: events of the same stretch of the log that can never succeed; ``advances``: the positions'
    steps past all of them. Once it returns, all is committed: every request has its outcome; a replay keeps
    the one it had. Raises CouponsNotFound or PositionMoved, or a database error; nothing is written then.
    Waits for locks: the consumer calls it in its database thread.
    """
    coupon_ids = sorted({request.event.coupon_id for request in requests})
    with coupon_locks(coupon_ids), transaction.atomic(durable=True):
        positions.advance(advances)
        rows = {
            coupon.pk: coupon
            for coupon in Coupon.objects.select_for_update().filter(pk__in=coupon_ids).order_by("pk")
        }
        allocations = _decide(requests, rows) if requests else []
        user_coupon_ids = _record(allocations, rows)
        failures.record(failed)
    return Issued(
        allocations=allocations,
        coupons=_snapshots(rows, allocations),
        user_coupon_ids=user_coupon_ids,
    )


def _decide(requests: Sequence[IssueRequest], coupons: Mapping[int, Coupon]) -> list[Allocation]:
    """Decide each coupon by itself; returns the allocations in the order of ``requests``."""
    by_coupon: defaultdict[int, list[IssueRequest]] = defaultdict(list)
    for request in requests:
        by_coupon[request.event.coupon_id].append(request)
    known_users = claim_rows.existing_users({request.event.user_id for request in requests})
    decided = _decided(requests)
    holders: defaultdict[int, set[int]] = defaultdict(set)
    for coupon_id, user_id in claim_rows.user_coupon_ids(
        {coupon_id: {each.event.user_id for each in group} for coupon_id, group in by_coupon.items()}
    ):
        holders[coupon_id].add(user_id)
    elsewhere = _first_elsewhere(requests) if len(by_coupon) > 1 else defaultdict(set)
    _refuse_unknown_coupons(by_coupon, coupons, decided, elsewhere)
    decisions = {
        coupon_id: iter(
            allocate(
                group,
                coupon=_state(coupons[coupon_id]),
                holders=holders[coupon_id],
                known_users=known_users,
                decided=decided | elsewhere[coupon_id],
            )
            if coupon_id in coupons
            else _replays(group)
        )
        for coupon_id, group in by_coupon.items()
    }
    return [next(decisions[request.event.coupon_id]) for request in requests]


def _first_elsewhere(requests: Sequence[IssueRequest]) -> defaultdict[int, set[UUID]]:
    """By coupon, the request ids that another coupon's event has first: an id has one outcome only."""
    first: dict[UUID, int] = {}
    elsewhere: defaultdict[int, set[UUID]] = defaultdict(set)
    for event in (request.event for request in requests):
        if first.setdefault(event.request_id, event.coupon_id) != event.coupon_id:
            elsewhere[event.coupon_id].add(event.request_id)
    return elsewhere


def _decided(requests: Sequence[IssueRequest]) -> set[UUID]:
    """The ids of requests that are decided for good. The outcome FAILED does not bind a second chance."""
    second_chances = _second_chances(requests)
    statuses = selectors.statuses({request.event.request_id for request in requests})
    return {
        request_id
        for request_id, status in statuses.items()
        if status != RequestStatus.FAILED or request_id not in second_chances
    }


def _second_chances(requests: Sequence[IssueRequest]) -> set[UUID]:
    return {request.event.request_id for request in requests if request.is_second_chance}


def _refuse_unknown_coupons(
    by_coupon: Mapping[int, Sequence[IssueRequest]],
    coupons: Mapping[int, Coupon],
    decided: set[UUID],
    elsewhere: Mapping[int, set[UUID]],
) -> None:
    """Raise CouponsNotFound for undecided requests; one decided while its coupon existed is a replay."""
    undecided = [
        request
        for coupon_id, group in by_coupon.items()
        if coupon_id not in coupons
        for request in group
        if request.event.request_id not in decided and request.event.request_id not in elsewhere[coupon_id]
    ]
    if undecided:
        raise CouponsNotFound(undecided)


def _replays(requests: Sequence[IssueRequest]) -> list[Allocation]:
    return [Allocation(request=request, decision=Decision.REPLAYED) for request in requests]


def _state(coupon: Coupon) -> CouponState:
    return CouponState(
        stock=coupon.stock,
        issued_count=coupon.issued_count,
        is_opened=coupon.coupon_status == CouponStatus.OPENED,
        opens_at_ms=_to_ms(coupon.opens_at),
        closes_at_ms=_to_ms(coupon.closes_at),
    )


def _to_ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


def _record(allocations: Sequence[Allocation], coupons: Mapping[int, Coupon]) -> dict[UUID, int]:
    """Write stock, user coupons and outcomes. Returns the winners' user coupon ids by request id."""
    now = timezone.now()
    winners = [a for a in allocations if a.decision is Decision.ISSUED]
    take_stock(winners, now)
    ids = claim_rows.insert_user_coupons(winners, now)
    decided = [a for a in allocations if a.decision is Decision.ISSUED or a.decision.is_rejection]
    # A dead letter's original event may stand in the batch before its second chance, and be the one decided.
    overruled = _second_chances([a.request for a in allocations]) & {
        a.request.event.request_id for a in decided
    }
    if overruled:
        IssueOutcome.objects.filter(pk__in=overruled, status=RequestStatus.FAILED).delete()
    epochs = {pk: int(coupon.epoch) for pk, coupon in coupons.items()}
    claim_rows.insert_outcomes(decided, ids, epochs, now)
    events = (winner.request.event for winner in winners)
    return {event.request_id: ids[event.coupon_id, event.user_id] for event in events}


def take_stock(winners: Sequence[Allocation], now: datetime) -> None:
    """Take the winners from the stock: one UPDATE for all coupons that lose equally many.

    A seam: the tests of races put a function here that checks nothing, to show what else guards the stock.
    """
    losing: defaultdict[int, list[int]] = defaultdict(list)
    for coupon_id, count in Counter([winner.request.event.coupon_id for winner in winners]).items():
        losing[count].append(coupon_id)
    for count, coupon_ids in losing.items():
        # While the rows are locked the condition is always true. SQLite has no row locks: there the
        # condition is the guard.
        changed = Coupon.objects.filter(pk__in=coupon_ids, stock__gte=count).update(
            stock=F("stock") - count, issued_count=F("issued_count") + count, updated_at=now
        )
        if changed != len(coupon_ids):
            raise StockChangedUnderLock(f"coupons {coupon_ids}: could not take {count} of each")


def _snapshots(coupons: Mapping[int, Coupon], allocations: Sequence[Allocation]) -> dict[int, CouponSnapshot]:
    issued = Counter([a.request.event.coupon_id for a in allocations if a.decision is Decision.ISSUED])
    return {
        pk: CouponSnapshot(epoch=coupon.epoch, issued_count=coupon.issued_count + issued[pk])
        for pk, coupon in coupons.items()
    }
