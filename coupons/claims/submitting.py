"""Submit claims: screen -> publish -> note. A slot whose event was not published is given back.

No answer names a request that could vanish: a request that is not known to be in the log is kept in the
database first (``coupons/gate/disclosed.py``).

Every function takes a list: claims that wait at the same moment share the round trips to the
database, Redis and the broker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseLayerError

from coupons import selectors
from coupons.claim import Claim
from coupons.claims import screening
from coupons.claims.grouping import Grouped
from coupons.claims.screening import Refused, Screened
from coupons.eventlog.delivery import Acknowledged, NotPublished, Receipt, Record, Uncertain
from coupons.eventlog.events import CouponIssueEvent, encode, partition_key
from coupons.eventlog.place import Place
from coupons.eventlog.producer import event_producer
from coupons.gate import disclosed, leaked_slots, loading, pending
from coupons.gate.admission import (
    GateUnavailable,
    gate,
)
from coupons.outcomes import Code
from runtime import greenlets, logs
from runtime.config import SHORTEST_PUBLISH_MS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The broker has the event: the request will be decided."""

    request_id: UUID


Answer = Accepted | Refused
Published = tuple[Claim, CouponIssueEvent, Receipt]
Publish = Callable[[Sequence[CouponIssueEvent], Sequence[Record], float], Iterator[dict[int, Receipt]]]


def submit(claims: Sequence[Claim]) -> list[Answer]:
    """Answer each claim, in the order given, where no loop gathers claims.

    Request ids must be new and distinct. Blocks its thread, also while cold gates are loaded. Raises
    screening.DATABASE_AWAY.
    """
    arrived = dict.fromkeys((claim.request_id for claim in claims), time.monotonic())
    give_up_at = time.monotonic() + settings.CONFIG.producer.loading_s
    screened = screening.screen(claims, dead_coupons(claims))
    answers = _all_answers(screened, arrived)
    while cold := screened.cold:
        left_s = give_up_at - time.monotonic()
        if left_s <= 0 or not warm_up({claim.coupon_id for claim in cold}, within_s=left_s):
            answers |= refused(cold)
            break
        screened = screening.screen(cold)
        answers |= _all_answers(screened, arrived)
    return [answers[claim.request_id] for claim in claims]


def _all_answers(screened: Screened, arrived: Mapping[UUID, float]) -> dict[UUID, Answer]:
    answers: dict[UUID, Answer] = {}
    for part in publish(screened, arrived):
        answers |= part
    return answers


def is_any_dead() -> bool:
    """Whether ``dead_coupons`` need be asked: as a rule no partition is dead."""
    return event_producer().refuses_some


def dead_coupons(claims: Iterable[Claim]) -> frozenset[int]:
    """The coupons of these claims that cannot be published now: their partition is known to be dead."""
    producer = event_producer()
    if not producer.refuses_some:
        return frozenset()
    return frozenset(each for each in {claim.coupon_id for claim in claims} if producer.refuses(each))


def warm_up(coupon_ids: Collection[int], *, within_s: float = loading.LOG_TIMEOUT_S) -> bool:
    """Load the gates. False if the log cannot be read now. Raises screening.DATABASE_AWAY.

    Reading the log may take ``within_s``: runs in a thread of its own (``greenlets.apart``), never in the
    loop.
    """
    try:
        loading.load_all(coupon_ids, within_s=within_s)
    except loading.LogUnavailable as error:
        log.warning("the gates of %d coupons cannot be loaded: %s", len(coupon_ids), error)
        return False
    except GateUnavailable:
        pass  # the next screening meets the same Redis, and lets the database decide
    return True


def warm_up_although_dead(coupon_id: int) -> None:
    """Load the gate of a coupon whose partition looks dead, for nobody who waits.

    Takes some seconds: runs in a thread that no claim waits for (``greenlets.beside``).
    """
    try:
        loading.load_although_dead(coupon_id)
    except (loading.LogUnavailable, GateUnavailable, *screening.DATABASE_AWAY) as error:
        log.info("the gate of coupon %d, whose partition looks dead, cannot be loaded: %s", coupon_id, error)


def refused(claims: Iterable[Claim]) -> dict[UUID, Answer]:
    """The answers to claims whose gate could not be loaded, or whose partition is dead.

    No slot is reserved: the user may try again.
    """
    return {claim.request_id: Refused(code=Code.BROKER_UNAVAILABLE) for claim in claims}


def publish(screened: Screened, arrived: Mapping[UUID, float]) -> Iterator[dict[UUID, Answer]]:
    """Publish the admitted claims, give back the slots of those not published.

    ``arrived``: when each claim did, by the monotonic clock; what it has waited for before is taken off the
    time that it waits for the broker. Yields answers by request id, in parts: a partition that hangs keeps
    its own claims waiting and no others. Cold claims have no answer yet. Called in the loop by the batch's
    greenlet, which sleeps while threads work.
    """
    if not screened.admitted and not screened.unproven:
        yield dict(screened.refusals)
        return
    events = [
        CouponIssueEvent.of(claim, timestamp_ms=screened.requested_at_ms) for claim in screened.admitted
    ]
    is_first = True
    records = _records(events, arrived)
    for receipts in _publish(events, records, screened.reserving_since) if records else [{}]:
        published = [
            (screened.admitted[index], events[index], receipt) for index, receipt in receipts.items()
        ]
        if is_first:
            yield _first_answers(screened, published)
        elif published:
            answers = _late_answers(published)
            yield {claim.request_id: answers[claim.request_id] for claim, _, _ in published}
        is_first = False


def _records(events: Sequence[CouponIssueEvent], arrived: Mapping[UUID, float]) -> list[Record]:
    waiting_s = settings.CONFIG.producer.waiting_s
    return [
        Record(
            key=partition_key(event.coupon_id),
            value=encode(event),
            until=arrived[event.request_id] + waiting_s,
            since=arrived[event.request_id],
        )
        for event in events
    ]


def publish_records(
    events: Sequence[CouponIssueEvent], records: Sequence[Record], reserving_since: float
) -> Iterator[dict[int, Receipt]]:
    """Publish these events' records; the receipts come in parts, by index (``publish_in_time``)."""
    return publish_in_time(records, reserving_since)


_publish: Publish = publish_records


def publish_by(publish: Publish) -> None:
    """From now on events are published by this: where claims are traced (``tracing.py``)."""
    global _publish
    _publish = publish


def _first_answers(screened: Screened, published: Sequence[Published]) -> dict[UUID, Answer]:
    if not published and not screened.unproven:
        return dict(screened.refusals)
    return _answers(
        published,
        screened.unproven,
        screened.refusals,
        since=screened.reserving_since,
        is_without_gate=screened.is_without_gate,
    )


def _answers(
    published: Sequence[Published],
    unproven: Iterable[Claim],
    refusals: Mapping[UUID, Refused],
    *,
    since: float,
    is_without_gate: bool,
) -> dict[UUID, Answer]:
    """``since``: when the first of the published ones was reserved. ``is_without_gate``: none was.

    What is accepted without a reservation is kept in the database: if somebody deletes its event before it is
    decided, nothing else knows of it. Not before it is published: what was not needs no outcome.
    """
    acknowledged = [claim for claim, _, receipt in published if isinstance(receipt, Acknowledged)]
    logs.info_each(
        log,
        "쿠폰 발급 이벤트 발행 - EventId: %s, UserId: %s, CouponId: %s",
        [(claim.request_id, claim.user_id, claim.coupon_id) for claim in acknowledged],
    )
    given_up = _given_up_meanwhile(acknowledged, since)
    disclosing = _disclosing(unproven, published)
    if is_without_gate:
        disclosing += acknowledged
    is_kept = greenlets.in_thread(_note, published, disclosing)
    answers: dict[UUID, Answer] = dict(refusals)
    for claim, _, receipt in published:
        answers[claim.request_id] = _answer(claim, receipt, is_given_up=claim.request_id in given_up)
    return answers if is_kept else _without(answers, {claim.request_id for claim in disclosing})


#: When a partition comes back or is given up, many small batches are told at once: each batch by
#: itself would take its turn in the few threads, and the last claim waited for seconds.
_late_answers: Final = Grouped[Published, dict[UUID, Answer]](
    lambda published: _answers(published, [], {}, since=float("-inf"), is_without_gate=gate.is_away)
)


def _disclosing(unproven: Iterable[Claim], published: Sequence[Published]) -> list[Claim]:
    """The requests that answers will name although neither the log nor an outcome is known to hold them."""
    proven = {claim.request_id for claim, _, receipt in published if isinstance(receipt, Acknowledged)}
    uncertain = [claim for claim, _, receipt in published if isinstance(receipt, Uncertain)]
    return [*uncertain, *(claim for claim in unproven if claim.request_id not in proven)]


def _without(answers: Mapping[UUID, Answer], unkept: Collection[UUID]) -> dict[UUID, Answer]:
    """The answers without ids that could not be kept: a client that asked for one might get a 404."""
    return {
        request_id: replace(answer, request_id=None)
        if isinstance(answer, Refused) and answer.request_id in unkept
        else answer
        for request_id, answer in answers.items()
    }


def _note(published: Sequence[Published], disclosing: Sequence[Claim]) -> bool:
    """Give slots back, note places, keep disclosed requests. Returns whether the disclosed ones are kept.

    Runs in a pool thread: it waits for Redis and the database.
    """
    give_back(claim for claim, _, receipt in published if isinstance(receipt, NotPublished))
    pending.note(
        [(event, _place(receipt)) for _, event, receipt in published if not isinstance(receipt, NotPublished)]
    )
    if not disclosing:
        return True
    try:
        disclosed.keep(disclosing)
    except DatabaseLayerError as error:
        log.warning("%d requests that answers name are not kept: %s", len(disclosing), error)
        return False
    return True


def _place(receipt: Receipt) -> Place | None:
    """The event's place; None while it is uncertain whether the event is in the log."""
    return receipt.place if isinstance(receipt, Acknowledged) else None


def publish_in_time(records: Sequence[Record], reserving_since: float) -> Iterator[dict[int, Receipt]]:
    """Publish, unless the process was held up (frozen, swapped out) for too long since it reserved.

    The search for leaked slots relies on this: a publish begins within the publish timeout of its
    reservation. A seam: dev/faults stops an API worker here, which has reserved and published nothing.
    """
    if time.monotonic() - reserving_since > settings.CONFIG.producer.publish_timeout_ms / 1000:
        held_up = NotPublished(error="held up between reserving and publishing")
        return iter([dict.fromkeys(range(len(records)), held_up)])
    return event_producer().publish_in_parts(records, since=reserving_since)


def _given_up_meanwhile(claims: Sequence[Claim], reserving_since: float) -> set[UUID]:
    """The claims whose slots were given back while publishing was held up: they must not be accepted.

    Leaked slots are given back 18 s after they were noted, or later (``coupons/gate/leaked_slots.py``). So
    this asks the database once publishing took a second (twice the shortest publish timeout), well before the
    18 s. Where the database is away, none of the claims is accepted; their ids can be asked for all the same,
    because their events are in the log.
    """
    if not claims or time.monotonic() - reserving_since < 2 * SHORTEST_PUBLISH_MS / 1000:
        return set()
    request_ids = [claim.request_id for claim in claims]
    try:
        return greenlets.in_thread(selectors.given_up, request_ids)
    except DatabaseLayerError as error:
        log.warning("%d published requests may be given up, and are not told yes: %s", len(claims), error)
        return set(request_ids)


def _answer(claim: Claim, receipt: Receipt, *, is_given_up: bool) -> Answer:
    if isinstance(receipt, Acknowledged) and not is_given_up:
        return Accepted(request_id=claim.request_id)
    if isinstance(receipt, NotPublished):
        return Refused(code=Code.BROKER_UNAVAILABLE)
    # Uncertain. The slot stays reserved: the event may be in the log.
    return Refused(code=Code.BROKER_UNAVAILABLE, request_id=claim.request_id)


def give_back(claims: Iterable[Claim]) -> None:
    """Give back the slots of claims whose event is certainly not in the log.

    A seam: dev/faults puts a bug here, to see whether it is found.
    """
    unpublished = list(claims)
    if not unpublished:
        return
    try:
        # A user who claimed again meanwhile was given this request's id: the request needs an outcome.
        leaked_slots.give_back(gate.release_undisclosed(unpublished))
    except GateUnavailable:
        # The slots do not stay taken: a gate that is loaded anew, from database and log, knows nothing of
        # these claims; in a gate that Redis kept, the search for leaked slots finds them.
        log.warning("%d slots not given back: Redis does not answer", len(unpublished))
    except DatabaseLayerError as error:
        log.warning("slots that somebody was told of are given back later, as leaked ones: %s", error)
