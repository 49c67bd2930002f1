"""Check claims and reserve slots for them, all at once: one database query, one Redis call.

What the database alone decides comes first (does the user exist, do they have the coupon, is it
open), then the gate. Without Redis the database's stock decides.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from coupons import catalog, gate_loading, loop, selectors
from coupons.admission import (
    Admission,
    AlreadyRequested,
    Claim,
    GateUnavailable,
    GateUnknown,
    OutOfStock,
    gate,
)
from coupons.catalog import CouponView
from coupons.outcomes import Code

log = logging.getLogger(__name__)

#: The database is away: nothing can be said. The log and Redis being away are answers.
AWAY: Final = (OperationalError, InterfaceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """``request_id`` names the request whose result answers the user's question, if there is one."""

    code: Code
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Claims after check and admission: ``refusals`` by request id, ``admitted`` in the order given.

    ``reserving_since``: when reserving the first of their slots began, by the monotonic clock.
    """

    refusals: dict[UUID, Refused]
    admitted: list[Claim]
    reserving_since: float


def screen(claims: Sequence[Claim]) -> Screened:
    """Check the claims and reserve slots. Whoever screens must publish. Raises AWAY."""
    return loop.in_thread(_screen, claims)


def _screen(claims: Sequence[Claim]) -> Screened:
    answers: dict[UUID, Refused] = {}
    by_coupon: defaultdict[int, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_coupon[claim.coupon_id].append(claim)
    admitted: list[Claim] = []
    reserving_since = float("inf")
    for coupon_id, group in by_coupon.items():
        coupon, refusals = _check(coupon_id, group)
        open_claims = [claim for claim in group if claim.request_id not in refusals]
        if coupon is not None and open_claims:
            reserving_since = min(reserving_since, time.monotonic())
            refusals |= _admit(coupon, open_claims)
        answers |= refusals
        admitted += [claim for claim in open_claims if claim.request_id not in refusals]
    return Screened(refusals=answers, admitted=admitted, reserving_since=reserving_since)


def _check(coupon_id: int, claims: Sequence[Claim]) -> tuple[CouponView | None, dict[UUID, Refused]]:
    """The coupon, and the refusals among its claims that the database alone decides, by request id."""
    claimants = selectors.claimants(coupon_id, [claim.user_id for claim in claims])
    coupon = catalog.coupon_view(coupon_id)
    refusals: dict[UUID, Refused] = {}
    for claim in claims:
        claimant = claimants.get(claim.user_id)
        if claimant is None:
            refusals[claim.request_id] = Refused(code=Code.USER_NOT_FOUND)
        elif coupon is None:
            refusals[claim.request_id] = Refused(code=Code.COUPON_NOT_FOUND)
        elif claimant.has_coupon:
            refusals[claim.request_id] = Refused(
                code=Code.ALREADY_REQUESTED, request_id=claimant.first_request_id
            )
        elif not coupon.is_open(timezone.now()):
            refusals[claim.request_id] = Refused(code=Code.COUPON_CLOSED)
    return coupon, refusals


def _admit(coupon: CouponView, claims: Sequence[Claim]) -> dict[UUID, Refused]:
    try:
        return _ask_gate(coupon, claims)
    except gate_loading.LogUnavailable as error:
        log.warning("the gate of coupon %s cannot be loaded: %s", coupon.coupon_id, error)
        return {claim.request_id: Refused(code=Code.BROKER_UNAVAILABLE) for claim in claims}
    except (GateUnavailable, GateUnknown):
        return _admit_without_gate(coupon, claims)


def _ask_gate(coupon: CouponView, claims: Sequence[Claim]) -> dict[UUID, Refused]:
    try:
        admissions = gate.admit(coupon, claims)
    except GateUnknown:
        coupon = gate_loading.load(coupon)
        admissions = gate.admit(coupon, claims)
    refusals = _refusals(claims, admissions)
    outdated = _outdated(coupon.coupon_id, claims, refusals)
    if outdated:
        # What refused these is over: they ask once more, and that answer stands.
        gate.release([replace(claim, request_id=first) for claim, first in outdated])
        again = [claim for claim, _ in outdated]
        for claim in again:
            del refusals[claim.request_id]
        refusals |= _refusals(again, gate.admit(coupon, again))
    return refusals


def _refusals(claims: Sequence[Claim], admissions: Sequence[Admission]) -> dict[UUID, Refused]:
    """What the gate's answers say to those that were not admitted, by request id."""
    refusals: dict[UUID, Refused] = {}
    for claim, admission in zip(claims, admissions, strict=True):
        match admission:
            case OutOfStock():
                refusals[claim.request_id] = Refused(code=Code.OUT_OF_STOCK)
            case AlreadyRequested(first_request_id=first):
                refusals[claim.request_id] = Refused(code=Code.ALREADY_REQUESTED, request_id=first)
    return refusals


def _outdated(
    coupon_id: int, claims: Sequence[Claim], refusals: Mapping[UUID, Refused]
) -> list[tuple[Claim, UUID]]:
    """Claims refused for an earlier request that was decided and gave its user nothing; and that request."""
    earlier = {
        claim: refusal.request_id
        for claim in claims
        if isinstance(refusal := refusals.get(claim.request_id), Refused) and refusal.request_id
    }
    if not earlier:
        return []
    over = selectors.over_without_coupon(
        coupon_id, {first: claim.user_id for claim, first in earlier.items()}
    )
    return [(claim, first) for claim, first in earlier.items() if first in over]


def _admit_without_gate(coupon: CouponView, claims: Sequence[Claim]) -> dict[UUID, Refused]:
    """Redis is away: the database's stock decides, and requests under way are not counted.

    More may be told yes than there is stock; the consumer rejects the rest. Nothing is lost.
    """
    fresh = catalog.coupon_view(coupon.coupon_id)
    if fresh is None or fresh.stock < 1:
        return {claim.request_id: Refused(code=Code.OUT_OF_STOCK) for claim in claims}
    return {}
