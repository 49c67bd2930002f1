"""The first-come rule: the first N distinct valid users in log order win."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from msgspec import structs

from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import Place
from coupons.issuing.allocation import Allocation, CouponState, allocate
from coupons.outcomes import Decision
from tests.factories import make_event, make_requests, moved

OPEN = CouponState(stock=2, issued_count=0, is_opened=True)
CLOSED = replace(OPEN, is_opened=False)
USERS = range(1, 10)


def decide(
    requests: Sequence[IssueRequest],
    *,
    coupon: CouponState = OPEN,
    holders: Collection[int] = (),
    known_users: Collection[int] = USERS,
    decided: Collection[UUID] = (),
) -> list[Allocation]:
    return allocate(requests, coupon=coupon, holders=holders, known_users=known_users, decided=decided)


def at(timestamp_ms: int) -> IssueRequest:
    event = make_event(coupon_id=1, user_id=1, timestamp_ms=timestamp_ms)
    return IssueRequest(event=event, place=Place(0, 0))


@pytest.mark.parametrize(
    ("users", "coupon", "holders", "expected"),
    [
        pytest.param([], OPEN, [], [], id="nothing asked"),
        pytest.param([1, 2], OPEN, [], ["ISSUED", "ISSUED"], id="stock for all"),
        pytest.param([3, 1, 2], OPEN, [], ["ISSUED", "ISSUED", "OUT_OF_STOCK"], id="the log's order"),
        pytest.param([1, 1, 2], OPEN, [], ["ISSUED", "ALREADY_REQUESTED", "ISSUED"], id="twice in a batch"),
        pytest.param([5, 1], OPEN, [5], ["ALREADY_REQUESTED", "ISSUED"], id="has it from before"),
        pytest.param([77, 1, 2], OPEN, [], ["USER_NOT_FOUND", "ISSUED", "ISSUED"], id="unknown user"),
        pytest.param([1], CLOSED, [], ["COUPON_CLOSED"], id="closed"),
        pytest.param([5, 1], CLOSED, [5], ["ALREADY_REQUESTED", "COUPON_CLOSED"], id="closed to a holder"),
        pytest.param([1], replace(OPEN, stock=0), [], ["OUT_OF_STOCK"], id="sold out"),
        pytest.param([5], replace(OPEN, stock=0), [5], ["ALREADY_REQUESTED"], id="sold out to a holder"),
    ],
)  # fmt: skip
def test_each_request_is_decided(
    users: list[int], coupon: CouponState, holders: list[int], expected: list[str]
) -> None:
    requests = make_requests(1, users)

    allocations = decide(requests, coupon=coupon, holders=holders)

    assert [allocation.decision for allocation in allocations] == expected
    assert [allocation.request for allocation in allocations] == requests


def test_ranks_go_on_where_the_last_batch_ended_and_have_no_gap() -> None:
    coupon = replace(OPEN, stock=3, issued_count=40)

    allocations = decide(make_requests(1, [1, 77, 2, 1, 3, 4]), coupon=coupon)

    assert [allocation.rank for allocation in allocations] == [41, None, 42, None, 43, None]


def test_a_decided_request_is_a_replay_whatever_has_become_of_the_coupon() -> None:
    [request] = make_requests(1, [1])

    for coupon in (OPEN, CLOSED, replace(OPEN, stock=0)):
        [replay] = decide([request], coupon=coupon, decided=[request.event.request_id])
        assert (replay.decision, replay.rank) == (Decision.REPLAYED, None)


def test_the_same_event_twice_in_a_batch_is_decided_once() -> None:
    [request] = make_requests(1, [1])
    again = moved(request, offset=1)

    first, second = decide([request, again])

    assert (first.decision, second.decision) == (Decision.ISSUED, Decision.REPLAYED)


def test_an_request_id_used_for_another_user_wins_nothing() -> None:
    [request] = make_requests(1, [1])
    stolen = structs.replace(request, event=structs.replace(request.event, user_id=2), place=Place(0, 1))

    _, second = decide([request, stolen])

    assert second.decision is Decision.REPLAYED


@pytest.mark.parametrize(
    ("opens_at_ms", "closes_at_ms", "timestamp_ms", "expected"),
    [
        (None, None, 0, "ISSUED"),
        (1000, None, 999, "COUPON_CLOSED"),
        (1000, None, 1000, "ISSUED"),
        (None, 2000, 1999, "ISSUED"),
        (None, 2000, 2000, "COUPON_CLOSED"),
        (1000, 2000, 1500, "ISSUED"),
    ],
)
def test_the_window_counts_as_it_was_when_the_request_was_accepted(
    opens_at_ms: int | None, closes_at_ms: int | None, timestamp_ms: int, expected: str
) -> None:
    coupon = replace(OPEN, opens_at_ms=opens_at_ms, closes_at_ms=closes_at_ms)

    [allocation] = decide([at(timestamp_ms)], coupon=coupon)

    assert allocation.decision == expected


@pytest.mark.parametrize("seed", range(100))
def test_winners_are_the_first_distinct_valid_users(seed: int) -> None:
    chance = random.Random(seed)
    stock, issued_count = chance.randint(0, 12), chance.randint(0, 5)
    known = set(chance.sample(range(1, 31), 20))
    holders = set(chance.sample(sorted(known), 3))
    requests = make_requests(1, [chance.randint(1, 30) for _ in range(chance.randint(0, 60))])
    requests += chance.choices(requests, k=3) if requests else []
    decided = {request.event.request_id for request in requests if chance.random() < 0.1}
    coupon = CouponState(stock=stock, issued_count=issued_count, is_opened=True)

    allocations = decide(requests, coupon=coupon, holders=holders, known_users=known, decided=decided)

    fresh = [request.event.user_id for request in requests if request.event.request_id not in decided]
    in_time = list(dict.fromkeys(user for user in fresh if user in known - holders))
    winners = [a for a in allocations if a.decision is Decision.ISSUED]
    assert [winner.request.event.user_id for winner in winners] == in_time[:stock]
    assert [winner.rank for winner in winners] == [issued_count + n + 1 for n in range(len(winners))]


@pytest.mark.parametrize("seed", range(50))
def test_where_the_log_is_cut_into_batches_changes_no_decision(seed: int) -> None:
    chance = random.Random(seed)
    requests = make_requests(1, [chance.randint(1, 12) for _ in range(40)])
    coupon = CouponState(stock=chance.randint(0, 9), issued_count=0, is_opened=True)
    whole = decide(requests, coupon=coupon)

    pieces: list[Allocation] = []
    holders: set[int] = set()
    rest = requests
    while rest:
        cut = chance.randint(1, len(rest))
        piece = decide(rest[:cut], coupon=coupon, holders=holders)
        won = [a.request.event.user_id for a in piece if a.decision is Decision.ISSUED]
        holders |= set(won)
        coupon = replace(coupon, stock=coupon.stock - len(won), issued_count=coupon.issued_count + len(won))
        pieces, rest = pieces + piece, rest[cut:]

    assert pieces == whole
