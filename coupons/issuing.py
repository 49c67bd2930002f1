"""The only writer of issued coupons: lock -> transaction -> commit -> unlock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from coupons.allocation import Allocation, CouponState, IssueRequest, allocate
from coupons.locks import coupon_locks
from coupons.models import Coupon, CouponStatus, IssueOutcome, User, UserCoupon
from coupons.outcomes import Decision, RequestStatus


class StockChangedUnderLock(RuntimeError):
    """The coupon row changed although it was locked; the transaction was rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What one committed batch did.

    ``allocations`` in log order; ``coupons`` as they are after the commit, by id;
    ``user_coupon_ids`` of the winners, by request id.
    """

    allocations: list[Allocation]
    coupons: dict[int, CouponSnapshot]
    user_coupon_ids: dict[UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponSnapshot:
    epoch: str  #: changes when the row is another one (deleted and made anew)
    issued_count: int


def issue_coupons(requests: Sequence[IssueRequest]) -> Issued:
    """Decide these requests, given in log order, and write what follows, in one transaction.

    Returning means committed. Every request gets its outcome row in the same transaction, but for
    replays (nothing is written) and unknown coupons (the caller makes them dead letters).
    """
    coupon_ids = sorted({request.event.coupon_id for request in requests})
    with coupon_locks(coupon_ids), transaction.atomic(durable=True):
        rows = {
            coupon.pk: coupon
            for coupon in Coupon.objects.select_for_update().filter(pk__in=coupon_ids).order_by("pk")
        }
        allocations = _decide(requests, rows)
        user_coupon_ids = _record(allocations, rows)
    return Issued(
        allocations=allocations,
        coupons=_snapshots(rows, allocations),
        user_coupon_ids=user_coupon_ids,
    )


def _decide(requests: Sequence[IssueRequest], coupons: Mapping[int, Coupon]) -> list[Allocation]:
    """Allocations in the order of ``requests``; each coupon is decided by itself."""
    user_ids = {request.event.user_id for request in requests}
    known_users = set(User.objects.filter(pk__in=user_ids).values_list("pk", flat=True))
    decided = _decided(requests)
    holders: defaultdict[int, set[int]] = defaultdict(set)
    held = UserCoupon.objects.filter(coupon_id__in=coupons, user_id__in=user_ids)
    for coupon_id, user_id in held.values_list("coupon_id", "user_id"):
        holders[coupon_id].add(user_id)

    by_coupon: defaultdict[int, list[IssueRequest]] = defaultdict(list)
    for request in requests:
        by_coupon[request.event.coupon_id].append(request)
    decisions: dict[tuple[int, int], Allocation] = {}
    for coupon_id, group in by_coupon.items():
        for allocation in (
            allocate(
                group,
                coupon=_state(coupons[coupon_id]),
                holders=holders[coupon_id],
                known_users=known_users,
                decided=decided,
            )
            if coupon_id in coupons
            else _coupon_not_found(group, decided)
        ):
            decisions[allocation.request.partition, allocation.request.offset] = allocation
    return [decisions[request.partition, request.offset] for request in requests]


def _decided(requests: Sequence[IssueRequest]) -> set[UUID]:
    """Which of these requests have their last word. A second chance is not bound by its FAILED."""
    second_chances = _second_chances(requests)
    outcomes = IssueOutcome.objects.filter(pk__in={request.event.event_id for request in requests})
    return {
        request_id
        for request_id, status in outcomes.values_list("pk", "status")
        if status != RequestStatus.FAILED or request_id not in second_chances
    }


def _second_chances(requests: Sequence[IssueRequest]) -> set[UUID]:
    return {request.event.event_id for request in requests if request.is_second_chance}


def _coupon_not_found(requests: Sequence[IssueRequest], decided: set[UUID]) -> list[Allocation]:
    return [
        Allocation(
            request=request,
            decision=Decision.REPLAYED if request.event.event_id in decided else Decision.COUPON_NOT_FOUND,
        )
        for request in requests
    ]


def _state(coupon: Coupon) -> CouponState:
    return CouponState(
        stock=coupon.stock,
        issued_count=coupon.issued_count,
        is_opened=coupon.coupon_status == CouponStatus.OPENED,
        opens_at_ms=_epoch_ms(coupon.opens_at),
        closes_at_ms=_epoch_ms(coupon.closes_at),
    )


def _epoch_ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


def _record(allocations: Sequence[Allocation], coupons: Mapping[int, Coupon]) -> dict[UUID, int]:
    """Write stock, user coupons and outcomes. Returns the winners' user coupon ids by request id."""
    now = timezone.now()
    winners = [a for a in allocations if a.decision is Decision.ISSUED]
    _take_stock(winners, now)
    # Sorted, so that concurrent inserts take the index in one order.
    UserCoupon.objects.bulk_create(
        UserCoupon(
            coupon_id=winner.request.event.coupon_id,
            user_id=winner.request.event.user_id,
            issued_at=now,
            request_id=winner.request.event.event_id,
        )
        for winner in sorted(winners, key=lambda a: (a.request.event.coupon_id, a.request.event.user_id))
    )
    # MySQL does not return the keys of a bulk insert, MariaDB and SQLite do: ask, the same way for all.
    user_coupon_ids: dict[UUID, int] = {
        request_id: pk
        for request_id, pk in UserCoupon.objects.filter(
            coupon_id__in={a.request.event.coupon_id for a in winners},
            user_id__in={a.request.event.user_id for a in winners},
        ).values_list("request_id", "pk")
        if request_id is not None
    }
    decided = [a for a in allocations if a.decision is Decision.ISSUED or a.decision.is_rejection]
    if second_chances := _second_chances([a.request for a in decided]):
        IssueOutcome.objects.filter(pk__in=second_chances, status=RequestStatus.FAILED).delete()
    epochs = {pk: int(coupon.epoch) for pk, coupon in coupons.items()}
    IssueOutcome.objects.bulk_create(_outcome(a, epochs, user_coupon_ids, now) for a in decided)
    return {a.request.event.event_id: user_coupon_ids[a.request.event.event_id] for a in winners}


def _take_stock(winners: Sequence[Allocation], now: datetime) -> None:
    taken: defaultdict[int, int] = defaultdict(int)
    for winner in winners:
        taken[winner.request.event.coupon_id] += 1
    for coupon_id, count in taken.items():
        # The condition is never false while the row is locked. On SQLite, whose lock is the
        # transaction's own, it is the guard.
        changed = Coupon.objects.filter(pk=coupon_id, stock__gte=count).update(
            stock=F("stock") - count, issued_count=F("issued_count") + count, updated_at=now
        )
        if changed != 1:
            raise StockChangedUnderLock(f"coupon {coupon_id}: could not take {count}")


def _outcome(
    allocation: Allocation, epochs: Mapping[int, int], user_coupon_ids: Mapping[UUID, int], now: datetime
) -> IssueOutcome:
    event = allocation.request.event
    is_issued = allocation.decision is Decision.ISSUED
    return IssueOutcome(
        request_id=event.event_id,
        coupon_id=event.coupon_id,
        user_id=event.user_id,
        status=RequestStatus.ISSUED if is_issued else RequestStatus.REJECTED,
        reason=None if is_issued else allocation.decision.value,
        coupon_epoch=epochs[event.coupon_id],
        user_coupon_id=user_coupon_ids.get(event.event_id),
        claim_rank=allocation.rank,
        stock_left=allocation.stock_left,
        requested_at=datetime.fromtimestamp(event.timestamp_ms / 1000, tz=UTC),
        processed_at=now,
        kafka_partition=allocation.request.partition,
        kafka_offset=allocation.request.offset,
    )


def _snapshots(coupons: Mapping[int, Coupon], allocations: Sequence[Allocation]) -> dict[int, CouponSnapshot]:
    issued: defaultdict[int, int] = defaultdict(int)
    for allocation in allocations:
        issued[allocation.request.event.coupon_id] += allocation.decision is Decision.ISSUED
    return {
        pk: CouponSnapshot(epoch=coupon.epoch, issued_count=coupon.issued_count + issued[pk])
        for pk, coupon in coupons.items()
    }
