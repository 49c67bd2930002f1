"""Whether the Redis gate agrees with the database and the undecided events of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from coupons.admission import Claim, GateState, gate
from coupons.allocation import IssueRequest
from coupons.models import Coupon, IssueOutcome
from coupons.verification.findings import Check, Finding


def check(coupon: Coupon, undecided: Sequence[IssueRequest]) -> Iterator[Finding]:
    """Everything wrong with one coupon's gate; an empty gate is right. Raises GateUnavailable.

    While requests come and go a reservation may be between two of the readings: look twice, and
    believe what was there both times.
    """
    state = gate.state(coupon.pk)
    if state is None:
        return
    yield from _counts(coupon, state)
    yield from _reservations(coupon, state, undecided)


def _counts(coupon: Coupon, state: GateState) -> Iterator[Finding]:
    if state.epoch != coupon.epoch:
        yield _finding(Check.GATE_COUNTS, coupon, "the gate is of an earlier coupon with this id")
    elif state.issued != coupon.issued_count:
        yield _finding(
            Check.GATE_COUNTS,
            coupon,
            f"the gate counts {state.issued} issued, the database {coupon.issued_count}",
        )


def _reservations(coupon: Coupon, state: GateState, undecided: Sequence[IssueRequest]) -> Iterator[Finding]:
    in_log = {r.event.event_id: r for r in undecided if r.event.coupon_id == coupon.pk}
    reserved: Mapping[UUID, Claim] = {claim.request_id: claim for claim in state.reservations}
    decided = set(IssueOutcome.objects.filter(pk__in=list(reserved)).values_list("pk", flat=True))
    for request_id, claim in reserved.items():
        if request_id in decided:
            yield _finding(
                Check.NO_STALE_RESERVATION,
                coupon,
                f"user {claim.user_id}'s request is decided and still holds a slot",
                request_id,
            )
        elif request_id not in in_log:
            yield _finding(
                Check.NO_LEAKED_RESERVATION,
                coupon,
                f"user {claim.user_id} holds a slot, and there is no event of it in the log",
                request_id,
            )
    reserved_users = {claim.user_id for claim in state.reservations}
    for request_id, request in in_log.items():
        if request.event.user_id not in reserved_users:
            yield _finding(
                Check.EVERY_REQUEST_RESERVED,
                coupon,
                f"user {request.event.user_id}'s request is under way and holds no slot",
                request_id,
            )


def _finding(check: Check, coupon: Coupon, message: str, request_id: UUID | None = None) -> Finding:
    return Finding(
        check=check,
        coupon_id=coupon.pk,
        message=message,
        request_id=None if request_id is None else str(request_id),
    )
