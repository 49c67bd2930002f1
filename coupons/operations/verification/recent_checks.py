"""The checks of some events and their outcomes: what can be told without looking at all the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from django.conf import settings

from coupons import selectors
from coupons.claim import Holding
from coupons.eventlog import deferred
from coupons.eventlog.backlog import Positions
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset, Place
from coupons.models import Coupon, DeadLetter, IssueOutcome
from coupons.operations.verification import order, race
from coupons.operations.verification.events import Events
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.operations.verification.matching import Matching
from coupons.operations.verification.outcome_rows import OutcomeRow, outcomes_of
from runtime.chunks import in_chunks
from runtime.operator_language import say

Entries = list[tuple[Place, IssueRequest | None]]  #: messages of the log; None is no event


def findings(entries: Entries, stretches: Mapping[int, Positions]) -> Iterator[Finding]:
    """What is wrong with these messages, which are decided. ``stretches``: what was read, by partition."""
    events = Events(_reaching(entries, stretches), coupon_id=None)
    for place, request in entries:
        events.add(place, request)
    outcomes = outcomes_of(list(events.first))
    aside = deferred.among(events.first.keys() - outcomes.keys())
    coupons = Coupon.objects.in_bulk({request.event.coupon_id for request in events.first.values()})
    matching = Matching(events)
    decided: defaultdict[int, list[OutcomeRow]] = defaultdict(list)
    for request_id, request in events.first.items():
        row, coupon = outcomes.get(request_id), coupons.get(request.event.coupon_id)
        if row is None:
            if request_id in aside:
                continue
            if coupon is None or coupon.reset_at is None:
                yield _undecided(request)
            continue
        yield from matching.check(request, row)
        is_of_this_row = coupon is not None and row.coupon_epoch == int(coupon.epoch)
        if is_of_this_row and row.is_of_the_race and row.place == request.place:
            decided[request.event.coupon_id].append(row)
    for coupon_id, rows in sorted(decided.items()):
        yield from _in_order(rows)
        yield from _without_coupon(coupon_id, rows)
        yield from _counts(coupons[coupon_id])
    yield from _without_letter(events.unreadable)


def _reaching(entries: Entries, stretches: Mapping[int, Positions]) -> dict[int, Positions]:
    """The stretches, and what is looked at again: a place below counts as gone, and proves nothing."""
    first = {partition: at.first for partition, at in stretches.items()}
    for place, _ in entries:
        first[place.partition] = FirstOffset(min(place.offset, first.get(place.partition, place.offset)))
    return {
        partition: Positions(first=at, next_to_decide=NextOffset(at), end=EndOffset(at))
        for partition, at in first.items()
    }


def _undecided(request: IssueRequest) -> Finding:
    event, place = request.event, request.place
    return finding(
        Check.EVERY_EVENT_DECIDED,
        event.coupon_id,
        say(
            "user {user_id}: accepted at partition {partition}, offset {offset}, behind the"
            " group's position, without an outcome",
            user_id=event.user_id,
            partition=place.partition,
            offset=place.offset,
        ),
        event.request_id,
    )


def _in_order(rows: Sequence[OutcomeRow]) -> Iterator[Finding]:
    by_partition: defaultdict[int | None, list[OutcomeRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.kafka_offset or 0):
        by_partition[row.kafka_partition].append(row)
    for decided in by_partition.values():
        yield from order.transactions(decided)
        for before, after in pairwise([each for each in decided if each.is_issued]):
            yield from race.ranks(before, after, is_alone=False)


def _without_coupon(coupon_id: int, rows: Sequence[OutcomeRow]) -> Iterator[Finding]:
    winners = [row for row in rows if row.is_issued]
    held: set[tuple[object, object]] = set()
    for some in in_chunks(winners, 1000):
        theirs = selectors.claimants(
            Holding(coupon_id, row.user_id) for row in some if row.user_id is not None
        )
        held.update((holding.user_id, each.first_request_id) for holding, each in theirs.items())
    for row in winners:
        if (row.user_id, row.request_id) not in held:
            yield finding(
                Check.WINNER_HAS_COUPON,
                coupon_id,
                say("user {user_id} was told ISSUED, and has no coupon of that request", user_id=row.user_id),
                row.request_id,
            )


def _counts(coupon: Coupon) -> Iterator[Finding]:
    if coupon.stock < 0:
        yield finding(Check.STOCK_NOT_NEGATIVE, coupon.pk, say("stock is {stock}", stock=coupon.stock))
    ranked = IssueOutcome.objects.filter(coupon_id=coupon.pk, claim_rank__isnull=False)
    last = ranked.order_by("-claim_rank").values_list("claim_rank", "coupon_epoch").first()
    if last is not None and last[1] == int(coupon.epoch) and last[0] != coupon.issued_count:
        yield finding(
            Check.ISSUED_COUNT,
            coupon.pk,
            say(
                "issued_count is {issued_count}, and the last winner has rank {rank}",
                issued_count=coupon.issued_count,
                rank=last[0],
            ),
        )


def _without_letter(unreadable: Collection[Place]) -> Iterator[Finding]:
    by_partition: defaultdict[int, list[int]] = defaultdict(list)
    for place in unreadable:
        by_partition[place.partition].append(place.offset)
    for partition, offsets in sorted(by_partition.items()):
        letters = DeadLetter.objects.filter(
            original_topic=settings.CONFIG.kafka.topic,
            original_partition=partition,
            original_offset__range=(min(offsets), max(offsets)),
        )
        kept = set(letters.values_list("original_offset", flat=True))
        for offset in sorted(set(offsets) - kept):
            yield Finding(
                check=Check.DEAD_LETTER_KEPT,
                message=say(
                    "the unreadable event at partition {partition}, offset {offset} is not among "
                    "the dead letters",
                    partition=partition,
                    offset=offset,
                ),
            )
