"""Check claims and reserve slots for them, all at once: one database query, one Redis call.

The database decides first (does the user exist, do they have the coupon, is it open), then the
gate. Without Redis the database's stock decides. Claims whose gate is unknown are set aside until
it is loaded (``coupons/gate/loading.py``), so that no claim waits for a reading of the log that
its own coupon does not need.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError

from coupons import coupon_cache, selectors
from coupons.claim import Claim
from coupons.claims import admitting
from coupons.claims.admitting import Asked
from coupons.coupon_cache import CachedCoupon
from coupons.gate.admission import (
    Admission,
    Admitted,
    AlreadyRequested,
    GateUnavailable,
    OutOfStock,
)
from coupons.outcomes import Code
from runtime import greenlets

#: The errors of a database that is away: no claim can be decided then. While the log or Redis is away, claims
#: are answered all the same.
DATABASE_AWAY: Final = (OperationalError, InterfaceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """``request_id``: the request whose status the user can ask for, if there is one."""

    code: Code
    request_id: UUID | None = None


_SOLD_OUT: Final = Refused(code=Code.OUT_OF_STOCK)
_UNPUBLISHED: Final = Refused(code=Code.BROKER_UNAVAILABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Claims after check and admission: ``refusals`` by request id, ``admitted`` in the order given.

    ``cold``: claims whose gate must be loaded; screen them again after that.
    ``unproven``: requests that a refusal names and that have neither an outcome nor a known place in the log.
    ``is_without_gate``: Redis was away, so that nothing is reserved.
    ``reserving_since``: when reserving began, by the monotonic clock.
    ``requested_at_ms``: the reading of the clock by which coupons are open or not; the events carry it.
    """

    refusals: dict[UUID, Refused]
    admitted: list[Claim]
    reserving_since: float
    requested_at_ms: int
    cold: list[Claim] = field(default_factory=list)
    unproven: list[Claim] = field(default_factory=list)
    is_without_gate: bool = False


def screen(claims: Sequence[Claim], dead: Collection[int] = ()) -> Screened:
    """Check the claims and reserve slots; ``submitting.publish`` must follow. Raises DATABASE_AWAY.

    ``dead``: coupons whose claims cannot be published now. They are refused as the database alone decides,
    and reserve nothing: to reserve and to give back is most of a refusal's cost, while a crowd tries again.
    Called in the loop: the checks run in a pool thread while the batch's greenlet sleeps.
    """
    return greenlets.in_thread(_screen, claims, dead)


def _screen(claims: Sequence[Claim], dead: Collection[int]) -> Screened:
    now_ms = time.time_ns() // 1_000_000
    coupons = coupon_cache.cached_coupons({claim.coupon_id for claim in claims})
    for_listed = {coupon_id for coupon_id, coupon in coupons.items() if coupon.eligible_only}
    claimants = selectors.claimants([claim.holding for claim in claims], for_listed=for_listed)
    refusals: dict[UUID, Refused] = {}
    for claim in claims:
        claimant = claimants.get(claim.holding)
        coupon = coupons.get(claim.coupon_id)
        if (refused := _check(coupon, claimant, now_ms)) is not None:
            refusals[claim.request_id] = refused
        elif coupon is not None and claim.coupon_id in dead:
            refusals[claim.request_id] = _UNPUBLISHED if coupon.stock > 0 else _SOLD_OUT
    open_claims = [claim for claim in claims if claim.request_id not in refusals]
    reserving_since = time.monotonic()
    asked = _ask(coupons, open_claims)
    return Screened(
        refusals=refusals | _refusals(asked.answers),
        admitted=[c for c in open_claims if isinstance(asked.answers.get(c.request_id), Admitted)],
        cold=asked.cold,
        unproven=asked.unproven,
        is_without_gate=asked.is_without_gate,
        reserving_since=reserving_since,
        requested_at_ms=now_ms,
    )


def _check(coupon: CachedCoupon | None, claimant: selectors.Claimant | None, now_ms: int) -> Refused | None:
    """The refusal, if the database alone decides it."""
    if claimant is None:
        return Refused(code=Code.USER_NOT_FOUND)
    if coupon is None:
        return Refused(code=Code.COUPON_NOT_FOUND)
    if claimant.has_coupon:
        return Refused(code=Code.ALREADY_REQUESTED, request_id=claimant.first_request_id)
    if coupon.eligible_only and not claimant.is_listed:
        return Refused(code=Code.NOT_ELIGIBLE)
    if not coupon.is_open_at(now_ms):
        return Refused(code=Code.COUPON_CLOSED)
    if coupon.is_paused:
        return Refused(code=Code.CLAIMS_PAUSED)
    return None


def _ask(coupons: Mapping[int, CachedCoupon], claims: Sequence[Claim]) -> Asked:
    if not claims:
        return Asked()
    try:
        return admitting.ask(coupons, claims)
    except GateUnavailable:
        return Asked(answers=_without_gate(coupons, claims), is_without_gate=True)


def _without_gate(coupons: Mapping[int, CachedCoupon], claims: Sequence[Claim]) -> dict[UUID, Admission]:
    """Let the database's stock decide while Redis is away; requests under way are not counted.

    More claims may be accepted than there is stock; the consumer rejects the surplus. Nothing is lost.
    """
    return {
        claim.request_id: Admitted() if coupons[claim.coupon_id].stock > 0 else OutOfStock()
        for claim in claims
    }


def _refusals(answers: Mapping[UUID, Admission]) -> dict[UUID, Refused]:
    """The refusals among the gates' answers, by request id."""
    refusals: dict[UUID, Refused] = {}
    for request_id, answer in answers.items():
        if isinstance(answer, OutOfStock):
            refusals[request_id] = _SOLD_OUT
        elif isinstance(answer, AlreadyRequested):
            refusals[request_id] = Refused(code=Code.ALREADY_REQUESTED, request_id=answer.first_request_id)
    return refusals
