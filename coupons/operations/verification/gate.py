"""Whether the Redis gate agrees with the database and the undecided events of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

from django_redis import get_redis_connection

from coupons.claim import Claim
from coupons.eventlog import deferred
from coupons.eventlog.events import IssueRequest
from coupons.gate.admission import (
    GateState,
    gate,
)
from coupons.gate.keys import claim_in, claims_in, count_in
from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.operations.verification.outcome_rows import existing
from runtime.operator_language import say

_HASH_OR_NOTHING: Final = (b"hash", b"none")


class _Damaged(ValueError):
    """The gate is damaged: it is wrong until a claim meets it and it is loaded anew."""


def check(coupon: Coupon, undecided: Sequence[IssueRequest]) -> Iterator[Finding]:
    """Everything wrong with one coupon's gate; an empty gate is right. Raises GateUnavailable.

    ``undecided``: in the log, as read before. What is deferred of the coupon is read here: one coupon's at a
    time, because each may have a million.

    While requests come and go, a reservation may change between two of the readings. So check twice,
    and believe the findings of both times.
    """
    try:
        state, counted = _read(coupon.pk)
    except _Damaged as damage:
        yield finding(Check.GATE_COUNTS, coupon.pk, say("the gate is damaged: {damage}", damage=damage))
        return
    if state is None:
        return
    held = len(state.reservations)
    if counted is not None and counted != str(held):
        yield finding(
            Check.GATE_COUNTS,
            coupon.pk,
            say("the gate counts {counted} reservations and holds {held}", counted=counted, held=held),
        )
    yield from _counts(coupon, state)
    yield from _reservations(coupon, state, undecided)


def _read(coupon_id: int) -> tuple[GateState | None, str | None]:
    """The gate, None if it is empty, and the number of reservations that it says it holds.

    Reads Redis directly, because the gate's own scripts would mend damage. Raises _Damaged.
    """
    gate_key, reservations_key = f"{{coupon:{coupon_id}}}:gate", f"{{coupon:{coupon_id}}}:reservations"
    redis = get_redis_connection("default")
    kinds = gate.guarded(lambda: [redis.type(key) for key in (gate_key, reservations_key)])
    if any(kind not in _HASH_OR_NOTHING for kind in kinds):
        raise _Damaged(
            say("its keys are {names}, not hashes", names=say(" and ").join(kind.decode() for kind in kinds))
        )
    pipeline = redis.pipeline(transaction=True)
    pipeline.hgetall(gate_key)
    pipeline.hgetall(reservations_key)
    fields, reserved = gate.guarded(pipeline.execute)
    if fields.get(b"ready") != b"1":
        return None, None
    counted = fields.get(b"reserved")
    return _state(coupon_id, fields, reserved), None if counted is None else counted.decode(errors="replace")


def _state(coupon_id: int, fields: Mapping[bytes, bytes], reserved: Mapping[bytes, bytes]) -> GateState:
    epoch, issued = fields.get(b"epoch"), count_in(fields.get(b"issued"))
    if epoch is None or issued is None:
        raise _Damaged(say("epoch {epoch!r}, issued {issued!r}", epoch=epoch, issued=fields.get(b"issued")))
    if odd := [pair for pair in reserved.items() if claim_in(coupon_id, *pair) is None]:
        raise _Damaged(say("{odd!r} is no reservation", odd=odd[0]))
    return GateState(
        epoch=epoch.decode(errors="replace"),
        issued=issued,
        reservations=list(claims_in(coupon_id, reserved.items())),
    )


def _counts(coupon: Coupon, state: GateState) -> Iterator[Finding]:
    if state.epoch != coupon.epoch:
        yield finding(Check.GATE_COUNTS, coupon.pk, say("the gate is of an earlier coupon with this id"))
    elif state.issued != coupon.issued_count:
        yield finding(
            Check.GATE_COUNTS,
            coupon.pk,
            say(
                "the gate counts {issued} issued, the database {issued_count}",
                issued=state.issued,
                issued_count=coupon.issued_count,
            ),
        )


def _reservations(coupon: Coupon, state: GateState, undecided: Sequence[IssueRequest]) -> Iterator[Finding]:
    in_log = {r.event.request_id: r for r in undecided if r.event.coupon_id == coupon.pk}
    if coupon.deferred_count:
        in_log |= {request.event.request_id: request for request in deferred.requests([coupon.pk])}
    reserved: Mapping[UUID, Claim] = {claim.request_id: claim for claim in state.reservations}
    # An event at or beyond the group's position may be decided all the same: since the log was read, by
    # another group, or before the position was moved back.
    decided = existing(IssueOutcome.objects.all(), "pk", {*reserved, *in_log})
    for request_id, claim in reserved.items():
        if request_id in decided:
            yield finding(
                Check.NO_STALE_RESERVATION,
                coupon.pk,
                say("user {user_id}'s request is decided and still holds a slot", user_id=claim.user_id),
                request_id,
            )
        elif request_id not in in_log:
            yield finding(
                Check.NO_LEAKED_RESERVATION,
                coupon.pk,
                say(
                    "user {user_id} holds a slot, and there is no event of it in the log",
                    user_id=claim.user_id,
                ),
                request_id,
            )
    under_way = {key: request.event.user_id for key, request in in_log.items() if key not in decided}
    holders = UserCoupon.objects.filter(coupon_id=coupon.pk)
    provided_for = {claim.user_id for claim in state.reservations}
    provided_for |= existing(
        holders, "user_id", set(under_way.values())
    )  # such a request will be rejected, and needs no slot
    for request_id, user_id in under_way.items():
        if user_id not in provided_for:
            yield finding(
                Check.EVERY_REQUEST_RESERVED,
                coupon.pk,
                say("user {user_id}'s request is under way and holds no slot", user_id=user_id),
                request_id,
            )
