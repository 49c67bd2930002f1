"""Whether the Redis gate agrees with the database and the undecided events of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from coupons.admission import Claim, GateState, gate
from coupons.allocation import IssueRequest
from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.verification.decided import existing
from coupons.verification.findings import Check, Finding


def check(coupon: Coupon, undecided: Sequence[IssueRequest]) -> Iterator[Finding]:
    """Everything wrong with one coupon's gate; an empty gate is right. Raises GateUnavailable.

    While requests come and go a reservation may be between two of the readings: look twice, and
    believe what was there both times.
    """
    try:
        state = gate.state(coupon.pk)
    except (AttributeError, TypeError, ValueError) as error:  # a field is missing, or no number and no id
        yield _finding(Check.GATE_COUNTS, coupon, f"the gate cannot be read: {error}")
        return
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
    # An event behind which the group's offset was not committed may be decided all the same: by a
    # consumer that died in between, by another group, or before the offsets were set back.
    decided = existing(IssueOutcome.objects.all(), "pk", {*reserved, *in_log})
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
    under_way = {key: request.event.user_id for key, request in in_log.items() if key not in decided}
    holders = UserCoupon.objects.filter(coupon_id=coupon.pk)
    provided_for = {claim.user_id for claim in state.reservations}
    provided_for |= existing(
        holders, "user_id", set(under_way.values())
    )  # will be rejected, and needs no slot
    for request_id, user_id in under_way.items():
        if user_id not in provided_for:
            yield _finding(
                Check.EVERY_REQUEST_RESERVED,
                coupon,
                f"user {user_id}'s request is under way and holds no slot",
                request_id,
            )


def _finding(check: Check, coupon: Coupon, message: str, request_id: UUID | None = None) -> Finding:
    return Finding(
        check=check,
        coupon_id=coupon.pk,
        message=message,
        request_id=None if request_id is None else str(request_id),
    )
