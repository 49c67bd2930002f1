"""Submit claims: screen -> publish -> note. A slot whose event was not published is given back.

Everything takes a list: claims that wait at the same moment share the database's, Redis's and
the broker's round trips.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from coupons import loop, reclaiming, screening, selectors, tracking
from coupons.admission import Claim, GateUnavailable, gate
from coupons.delivery import Acknowledged, NotPublished, Receipt, Record
from coupons.events import CouponIssueEvent, encode, partition_key
from coupons.outcomes import Code
from coupons.producer import event_producer
from coupons.screening import Refused, Screened
from couponsite import logs
from couponsite.config import SHORTEST_PUBLISH_MS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The broker has the event: the request will be decided."""

    request_id: UUID


Answer = Accepted | Refused


def submit(claims: Sequence[Claim]) -> list[Answer]:
    """Answer each claim, in the order given. Request ids must be new and distinct. Raises screening.AWAY."""
    answers = publish(screening.screen(claims))
    return [answers[claim.request_id] for claim in claims]


def publish(screened: Screened) -> dict[UUID, Answer]:
    """Publish what was admitted, give back what could not be; every claim's answer by request id."""
    if not screened.admitted:
        return dict(screened.refusals)
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
        # Who claimed again meanwhile was told of this request, and must find out that nothing came of it.
        reclaiming.give_back(gate.release_untold(unpublished))
    except GateUnavailable:
        # The gate is loaded anew from the database and the log, neither of which knows these claims.
        log.warning("%d slots not given back: Redis does not answer", len(unpublished))
    except screening.AWAY as error:
        log.warning("slots that somebody was told of are given back later, as leaked ones: %s", error)
