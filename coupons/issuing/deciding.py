"""The only writer of issued coupons: lock -> transaction (position, rows, outcomes) -> commit -> unlock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from coupons import selectors
from coupons.eventlog import deferred, positions
from coupons.eventlog.deferred import Original, Originals
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import Place
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
    ``user_coupon_ids``: the winners', by request id; ``deferred``: events of coupons whose deciding is
    paused, which have no allocation.
    """

    allocations: list[Allocation]
    coupons: dict[int, CouponSnapshot]
    user_coupon_ids: dict[UUID, int]
    deferred: Sequence[IssueRequest] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponSnapshot:
    epoch: str  #: another one if the row was deleted and made anew
    issued_count: int


def _no_originals(places: Collection[Place]) -> Mapping[Place, Original]:
    """Of requests that were made without a log, as in tests of the rules: nothing of them can be deferred."""
    raise LookupError(f"nobody has the messages at {sorted(places)}")


def issue_coupons(
    requests: Sequence[IssueRequest],
    *,
    failed: Sequence[FailedEvent] = (),
    advances: Sequence[Advance] = (),
    originals: Originals = _no_originals,
    resumed: int | None = None,
) -> Issued:
    """Decide these requests, given in log order, and write the decisions, in one transaction.

    ``failed``: events of the same stretch of the log that can never succeed; ``advances``: the positions'
    steps past all of them. Once it returns, all is committed: every request has its outcome, or is deferred
    because somebody paused the deciding of its coupon; a replay keeps the outcome it had. ``resumed``: a
    coupon whose first deferred events these are; they are decided. Raises CouponsNotFound, PositionMoved,
    DecidingPaused or DeferredMoved, or a database error; nothing is written then. Waits for locks: the
    consumer calls it in its database thread.
    """
    coupon_ids = {request.event.coupon_id for request in requests}
    coupon_ids |= set() if resumed is None else {resumed}
    with coupon_locks(sorted(coupon_ids)), transaction.atomic(durable=True):
        positions.advance(advances)
        rows = {
            coupon.pk: coupon
            for coupon in Coupon.objects.select_for_update().filter(pk__in=coupon_ids).order_by("pk")
        }
        put_aside: Sequence[IssueRequest] = ()
        if resumed is not None:
            deferred.take(rows[resumed], [*(r.place for r in requests), *(each.place for each in failed)])
        elif any(coupon.defers for coupon in rows.values()):
            requests, put_aside = _defer(requests, rows, originals)
        allocations = _decide(requests, rows) if requests else []
        user_coupon_ids = _record(allocations, rows)
        failures.record(failed)
    return Issued(
        allocations=allocations,
        coupons=_snapshots(rows, allocations),
        user_coupon_ids=user_coupon_ids,
        deferred=put_aside,
    )


def _defer(
    requests: Sequence[IssueRequest], coupons: Mapping[int, Coupon], originals: Originals
) -> tuple[list[IssueRequest], list[IssueRequest]]:
    """Defer what is undecided of coupons that defer; returns what is to be decided now, and what is not."""
    defer_all = {pk for pk, coupon in coupons.items() if coupon.defers}
    theirs = [request for request in requests if request.event.coupon_id in defer_all]
    decided = _decided(theirs) if theirs else set()
    undecided = [request for request in theirs if request.event.request_id not in decided]
    deferred.defer(undecided, originals)
    is_aside = {request.place for request in undecided}
    return [request for request in requests if request.place not in is_aside], undecided


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
    listed = claim_rows.eligible(
        {
            coupon_id: {each.event.user_id for each in group}
            for coupon_id, group in by_coupon.items()
            if coupon_id in coupons and coupons[coupon_id].eligible_only
        }
    )
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
                eligible=listed.get(coupon_id),
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
    decided = {allocation.request.event.coupon_id for allocation in allocations}
    return {
        pk: CouponSnapshot(epoch=coupon.epoch, issued_count=coupon.issued_count + issued[pk])
        for pk, coupon in coupons.items()
        if pk in decided
    }
