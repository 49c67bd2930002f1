"""Submit claims: check -> admit -> publish -> note. A slot whose event was not published is given back.

Everything takes a list: claims that wait at the same moment share the database's, Redis's and
the broker's round trips.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from coupons import catalog, gate_loading, loop, selectors, tracking
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
from coupons.events import CouponIssueEvent, encode, partition_key
from coupons.outcomes import Code
from coupons.producer import Acknowledged, NotPublished, Receipt, Record, event_producer
from couponsite import logs
from couponsite.config import SHORTEST_PUBLISH_MS

log = logging.getLogger(__name__)

#: The database is away: nothing can be said. The log and Redis being away are answers.
AWAY: Final = (OperationalError, InterfaceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The broker has the event: the request will be decided."""

    request_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """``request_id`` names the request whose result answers the user's question, if there is one."""

    code: Code
    request_id: UUID | None = None


Answer = Accepted | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Claims after check and admission: ``refusals`` by request id, ``admitted`` in the order given.

    ``reserving_since``: when reserving the first of their slots began, by the monotonic clock.
    """

    refusals: dict[UUID, Answer]
    admitted: list[Claim]
    reserving_since: float


def submit(claims: Sequence[Claim]) -> list[Answer]:
    """Answer each claim, in the order given. Request ids must be new and distinct. Raises AWAY."""
    answers = publish(screen(claims))
    return [answers[claim.request_id] for claim in claims]


def screen(claims: Sequence[Claim]) -> Screened:
    """Check the claims and reserve slots. Whoever screens must publish. Raises AWAY."""
    return loop.in_thread(_screen, claims)


def publish(screened: Screened) -> dict[UUID, Answer]:
    """Publish what was admitted, give back what could not be; every claim's answer by request id."""
    if not screened.admitted:
        return screened.refusals
    requested_at_ms = time.time_ns() // 1_000_000
    records = [_record(claim, requested_at_ms) for claim in screened.admitted]
    receipts = _publish_in_time(records, screened.reserving_since)
    published = list(zip(screened.admitted, receipts, strict=True))
    acknowledged = [claim for claim, receipt in published if isinstance(receipt, Acknowledged)]
    logs.info_each(
        log,
        "쿠폰 발급 이벤트 발행 - EventId: %s, UserId: %s, CouponId: %s",
        [(claim.request_id, claim.user_id, claim.coupon_id) for claim in acknowledged],
    )
    given_up = _given_up_meanwhile(acknowledged, screened.reserving_since)
    loop.in_thread(_tell_redis, published, requested_at_ms)
    return screened.refusals | {
        claim.request_id: _answer(claim, receipt, is_given_up=claim.request_id in given_up)
        for claim, receipt in published
    }


def _screen(claims: Sequence[Claim]) -> Screened:
    answers: dict[UUID, Answer] = {}
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


def _check(coupon_id: int, claims: Sequence[Claim]) -> tuple[CouponView | None, dict[UUID, Answer]]:
    """The coupon, and the refusals among its claims that the database alone decides, by request id."""
    claimants = selectors.claimants(coupon_id, [claim.user_id for claim in claims])
    coupon = catalog.coupon_view(coupon_id)
    refusals: dict[UUID, Answer] = {}
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


def _admit(coupon: CouponView, claims: Sequence[Claim]) -> dict[UUID, Answer]:
    try:
        return _ask_gate(coupon, claims)
    except gate_loading.LogUnavailable as error:
        log.warning("the gate of coupon %s cannot be loaded: %s", coupon.coupon_id, error)
        return {claim.request_id: Refused(code=Code.BROKER_UNAVAILABLE) for claim in claims}
    except (GateUnavailable, GateUnknown):
        return _admit_without_gate(coupon, claims)


def _ask_gate(coupon: CouponView, claims: Sequence[Claim]) -> dict[UUID, Answer]:
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


def _refusals(claims: Sequence[Claim], admissions: Sequence[Admission]) -> dict[UUID, Answer]:
    """What the gate's answers say to those that were not admitted, by request id."""
    refusals: dict[UUID, Answer] = {}
    for claim, admission in zip(claims, admissions, strict=True):
        match admission:
            case OutOfStock():
                refusals[claim.request_id] = Refused(code=Code.OUT_OF_STOCK)
            case AlreadyRequested(first_request_id=first):
                refusals[claim.request_id] = Refused(code=Code.ALREADY_REQUESTED, request_id=first)
    return refusals


def _outdated(
    coupon_id: int, claims: Sequence[Claim], refusals: Mapping[UUID, Answer]
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


def _admit_without_gate(coupon: CouponView, claims: Sequence[Claim]) -> dict[UUID, Answer]:
    """Redis is away: the database's stock decides, and requests under way are not counted.

    More may be told yes than there is stock; the consumer rejects the rest. Nothing is lost.
    """
    fresh = catalog.coupon_view(coupon.coupon_id)
    if fresh is None or fresh.stock < 1:
        return {claim.request_id: Refused(code=Code.OUT_OF_STOCK) for claim in claims}
    return {}


def _record(claim: Claim, requested_at_ms: int) -> Record:
    event = CouponIssueEvent(
        event_id=claim.request_id,
        user_id=claim.user_id,
        coupon_id=claim.coupon_id,
        timestamp_ms=requested_at_ms,
    )
    return Record(key=partition_key(claim.coupon_id), value=encode(event))


def _tell_redis(published: Sequence[tuple[Claim, Receipt]], requested_at_ms: int) -> None:
    _give_back(claim for claim, receipt in published if isinstance(receipt, NotPublished))
    tracking.note(
        [
            tracking.Tracked.of(claim, receipt, requested_at_ms=requested_at_ms)
            for claim, receipt in published
            if not isinstance(receipt, NotPublished)
        ]
    )


def _publish_in_time(records: Sequence[Record], reserving_since: float) -> list[Receipt]:
    """A process that was held up (frozen, swapped out) since it reserved publishes nothing any more.

    Reclaiming counts on it: a publish begins within the publish timeout of its reservation.
    """
    if time.monotonic() - reserving_since > settings.CONFIG.producer.publish_timeout_ms / 1000:
        return [NotPublished(error="held up between reserving and publishing")] * len(records)
    return event_producer().publish(records)


def _given_up_meanwhile(claims: Sequence[Claim], reserving_since: float) -> set[UUID]:
    """Held up while publishing: those whose slot was given back meanwhile are not told yes.

    Looks as soon as whoever gives slots back may have waited long enough, by the shortest timeout.
    """
    if not claims or time.monotonic() - reserving_since < 2 * SHORTEST_PUBLISH_MS / 1000:
        return set()
    return loop.in_thread(selectors.given_up, [claim.request_id for claim in claims])


def _answer(claim: Claim, receipt: Receipt, *, is_given_up: bool) -> Answer:
    if isinstance(receipt, Acknowledged) and not is_given_up:
        return Accepted(request_id=claim.request_id)
    if isinstance(receipt, NotPublished):
        return Refused(code=Code.BROKER_UNAVAILABLE)
    # Uncertain. The slot stays reserved: the event may be in the log.
    return Refused(code=Code.BROKER_UNAVAILABLE, request_id=claim.request_id)


def _give_back(claims: Iterable[Claim]) -> None:
    unpublished = list(claims)
    if not unpublished:
        return
    try:
        gate.release(unpublished)
    except GateUnavailable:
        # The gate is loaded anew from the database and the log, neither of which knows these claims.
        log.warning("%d slots not given back: Redis does not answer", len(unpublished))
