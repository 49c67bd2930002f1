"""The gate's script on a real Redis: it reserves, recognises, and refuses only who is too late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.gate import admission
from coupons.gate.admission import (
    Admission,
    Admitted,
    AlreadyRequested,
    Decisions,
    GateUnavailable,
    GateUnknown,
    OutOfStock,
    gate,
)
from coupons.gate.redis_client import Call

COUPON = CachedCoupon(
    coupon_id=7, epoch="1", stock=2, issued_count=0, is_opened=True, opens_at=None, closes_at=None
)


def claim(user_id: int, *, request_id: UUID | None = None, coupon_id: int = 7) -> Claim:
    return Claim(coupon_id=coupon_id, user_id=user_id, request_id=request_id or uuid7())


def ask(coupon: CachedCoupon, *claims: Claim) -> list[Admission]:
    return gate.admit(coupon, claims)


def settle(*decided: tuple[Claim, bool], issued_count: int, epoch: str = "1") -> None:
    gate.notify([Decisions(coupon_id=7, epoch=epoch, issued_count=issued_count, decided=decided)])


@pytest.fixture
def _loaded() -> None:
    gate.load(COUPON, [])


loaded = pytest.mark.usefixtures("_loaded")


def test_an_empty_gate_knows_nothing_and_says_so() -> None:
    with pytest.raises(GateUnknown):
        ask(COUPON, claim(1))
    assert gate.reserved(7) is None


@loaded
def test_as_many_are_admitted_as_there_is_stock() -> None:
    assert ask(COUPON, claim(1), claim(2), claim(3)) == [Admitted(), Admitted(), OutOfStock()]
    assert ask(COUPON, claim(4)) == [OutOfStock()]
    assert gate.reserved(7) == 2


@loaded
def test_where_a_gate_holds_few_users_they_are_looked_up_and_not_read_from_the_beginning() -> None:
    """A coupon of hundreds of claims among many others: Redis keeps small hashes as lists."""
    redis = get_redis_connection("default")
    reservations = "{coupon:7}:reservations"

    asked = claim(1)
    ask(COUPON, asked)
    assert redis.object("encoding", reservations) == b"hashtable"
    assert redis.hkeys(reservations) == [b"\x01"]

    settle((asked, True), issued_count=1)
    [winners] = redis.keys("{coupon:7}:settled:*")
    assert redis.object("encoding", winners) == b"hashtable"
    assert redis.hkeys(winners) == [b"\x01"]
    ask(COUPON, claim(2))  # in a hash that is made anew
    assert redis.object("encoding", reservations) == b"hashtable"

    gate.clear(7)
    gate.load(COUPON, [claim(3)])
    assert redis.object("encoding", reservations) == b"hashtable"
    assert gate.reserved(7) == 1


@loaded
def test_of_several_coupons_those_whose_gate_is_loaded_tell_how_many_are_reserved() -> None:
    other = replace(COUPON, coupon_id=8)
    gate.load(other, [])
    ask(COUPON, claim(1), claim(2))

    assert gate.reserved_each([7, 9, 8]) == {7: 2, 8: 0}
    assert gate.reserved_each([]) == {}


@loaded
def test_a_repeat_with_the_same_request_id_is_admitted_and_takes_no_second_slot() -> None:
    first = claim(1)

    assert ask(COUPON, first) == [Admitted()]
    assert ask(COUPON, first, first) == [Admitted(), Admitted()]

    assert gate.reserved(7) == 1
    assert ask(COUPON, claim(2), first, claim(3)) == [Admitted(), Admitted(), OutOfStock()]


@loaded
def test_a_second_request_of_a_user_is_told_the_first() -> None:
    first = claim(1)

    together = ask(COUPON, first, claim(1))
    later = ask(COUPON, claim(1))

    assert together == [Admitted(), AlreadyRequested(first_request_id=first.request_id)]
    assert later == [AlreadyRequested(first_request_id=first.request_id)]
    assert gate.reserved(7) == 1


@loaded
def test_already_requested_is_told_before_out_of_stock() -> None:
    first = claim(1)
    ask(COUPON, first, claim(2))

    assert ask(COUPON, claim(1)) == [AlreadyRequested(first_request_id=first.request_id)]


@loaded
def test_a_slot_given_back_is_free_again() -> None:
    first = claim(1)
    ask(COUPON, first, claim(2))

    assert gate.release([first]) == 1

    assert ask(COUPON, claim(3), claim(4)) == [Admitted(), OutOfStock()]


@loaded
def test_a_slot_is_given_back_only_by_the_request_that_has_it() -> None:
    ask(COUPON, claim(1), claim(2))

    assert gate.release([claim(1), claim(9)]) == 0

    assert gate.reserved(7) == 2


@loaded
def test_a_slot_is_given_back_once() -> None:
    first = claim(1)
    ask(COUPON, first, claim(2))

    assert [gate.release([first]), gate.release([first])] == [1, 0]

    assert ask(COUPON, claim(3), claim(4)) == [Admitted(), OutOfStock()]


@loaded
def test_an_issued_slot_is_not_free_again_and_its_winner_is_recognised() -> None:
    first = claim(1)
    ask(COUPON, first, claim(2))

    settle((first, True), issued_count=1)

    after = replace(COUPON, stock=1, issued_count=1)
    for view in (COUPON, after):  # a view of the row from before the commit is as good as one from after
        assert ask(view, claim(3)) == [OutOfStock()]
        assert ask(view, claim(1)) == [AlreadyRequested(first_request_id=first.request_id)]
    assert gate.reserved(7) == 1


@loaded
def test_a_rejected_request_gives_its_slot_back() -> None:
    rejected = claim(1)
    ask(COUPON, rejected, claim(2))

    settle((rejected, False), issued_count=0)

    assert ask(COUPON, claim(3), claim(4)) == [Admitted(), OutOfStock()]
    assert ask(COUPON, claim(1)) == [OutOfStock()]  # not taken for somebody who has it


@loaded
def test_settling_twice_is_settling_once() -> None:
    won, lost = claim(1), claim(2)
    ask(COUPON, won, lost)

    for _ in range(2):
        settle((won, True), (lost, False), issued_count=1)

    assert gate.reserved(7) == 0
    assert ask(COUPON, claim(3), claim(4)) == [Admitted(), OutOfStock()]


@loaded
def test_settling_late_does_not_turn_the_count_back() -> None:
    first, second = claim(1), claim(2)
    ask(COUPON, first, second)

    settle((second, True), issued_count=2)
    settle((first, True), issued_count=1)

    from_before_all_that = replace(COUPON, stock=3)
    assert ask(from_before_all_that, claim(3), claim(4)) == [Admitted(), OutOfStock()]


@loaded
def test_what_the_row_says_is_issued_counts_although_nobody_told_the_gate() -> None:
    told_late = replace(COUPON, stock=1, issued_count=2)

    assert ask(told_late, claim(3), claim(4)) == [Admitted(), OutOfStock()]


@loaded
def test_settling_an_old_request_leaves_a_newer_reservation_alone() -> None:
    old, new = claim(1), claim(1)
    ask(COUPON, new)

    settle((old, False), issued_count=0)

    assert gate.reserved(7) == 1
    assert ask(COUPON, claim(1)) == [AlreadyRequested(first_request_id=new.request_id)]


@loaded
def test_stock_added_in_the_database_is_free_at_once() -> None:
    ask(COUPON, claim(1), claim(2))

    assert ask(replace(COUPON, stock=3), claim(3), claim(4)) == [Admitted(), OutOfStock()]


@loaded
def test_stock_taken_away_in_the_database_is_not_given_out() -> None:
    assert ask(replace(COUPON, stock=0), claim(1)) == [OutOfStock()]
    assert ask(replace(COUPON, stock=1), claim(1), claim(2)) == [Admitted(), OutOfStock()]


@loaded
def test_a_row_made_anew_under_the_same_id_is_another_coupon() -> None:
    ask(COUPON, claim(1), claim(2))
    anew = replace(COUPON, epoch="2")

    with pytest.raises(GateUnknown):
        ask(anew, claim(1))
    gate.load(anew, [])

    assert ask(anew, claim(1), claim(2), claim(3)) == [Admitted(), Admitted(), OutOfStock()]


@loaded
def test_a_decision_on_a_row_made_anew_asks_for_a_new_loading() -> None:
    settle((claim(1), True), issued_count=1, epoch="2")

    assert gate.reserved(7) is None
    with pytest.raises(GateUnknown):
        ask(replace(COUPON, epoch="2"), claim(2))


def test_loading_counts_the_requests_under_way() -> None:
    first = claim(1)

    assert gate.load(COUPON, [first, claim(1)]) is True

    assert gate.reserved(7) == 1
    assert ask(COUPON, claim(1)) == [AlreadyRequested(first_request_id=first.request_id)]
    assert ask(COUPON, claim(2), claim(3)) == [Admitted(), OutOfStock()]


@loaded
def test_a_loaded_gate_is_not_loaded_again() -> None:
    ask(COUPON, claim(1))

    assert gate.load(COUPON, []) is False

    assert gate.reserved(7) == 1


def test_what_was_decided_while_the_gate_was_read_together_is_not_counted_twice() -> None:
    won = claim(1)
    settle((won, True), issued_count=1)  # after the reading, before the loading

    gate.load(COUPON, [won])

    assert gate.reserved(7) == 0
    assert ask(COUPON, claim(2), claim(3)) == [Admitted(), OutOfStock()]


@loaded
def test_coupons_do_not_know_of_each_other() -> None:
    other = replace(COUPON, coupon_id=8)
    gate.load(other, [])
    ask(COUPON, claim(1), claim(2))

    assert ask(other, claim(1, coupon_id=8)) == [Admitted()]
    assert [gate.reserved(7), gate.reserved(8)] == [2, 1]


def test_ids_and_counts_at_the_edge_are_counted_exactly() -> None:
    largest = replace(COUPON, coupon_id=2**63 - 1, stock=10**15 + 1, issued_count=10**15)
    gate.load(largest, [])

    [answer] = gate.admit(largest, [claim(2**63 - 1, coupon_id=2**63 - 1)])

    assert answer == Admitted()
    assert gate.reservations(limit=10)[0].user_id == 2**63 - 1


@loaded
def test_what_is_over_goes_by_itself() -> None:
    first, second = claim(1), claim(2)
    ask(COUPON, first, second)
    settle((first, True), (second, False), issued_count=1)

    redis = get_redis_connection("default")
    keys = list(redis.scan_iter("{coupon:7}*"))

    assert len(keys) == 2
    assert all(redis.ttl(key) > 0 for key in keys)


@loaded
def test_a_count_that_contradicts_the_view_is_doubted_and_stays() -> None:
    settle(issued_count=50)  # told of a row that was set back by hand afterwards, or the view is an old one

    [answer] = ask(COUPON, claim(1))

    assert isinstance(answer, OutOfStock)
    assert answer.is_doubtful
    assert gate.issued_counts() == {7: 50}
    assert gate.reserved(7) == 0


@loaded
def test_sold_out_is_not_doubted_where_the_view_has_no_stock_or_requests_are_under_way() -> None:
    [_, _, late] = ask(COUPON, claim(1), claim(2), claim(3))
    [sold_out] = ask(replace(COUPON, stock=0, issued_count=2), claim(4))

    assert [answer.is_doubtful for answer in (late, sold_out) if isinstance(answer, OutOfStock)] == [
        False
    ] * 2


@loaded
def test_a_loading_never_turns_a_count_back() -> None:
    settle(issued_count=2)
    get_redis_connection("default").hdel("{coupon:7}:gate", "ready")

    gate.load(COUPON, [])  # from a row that lags

    assert gate.issued_counts() == {7: 2}


def test_more_than_one_script_loads_at_once_are_loaded_in_parts() -> None:
    coupon = replace(COUPON, stock=13_000)
    under_way = [claim(user_id) for user_id in range(1, 12_001)]

    assert gate.load(coupon, under_way) is True

    assert gate.reserved(7) == 12_000
    assert gate.load(coupon, under_way[:1]) is False
    assert len(list(get_redis_connection("default").scan_iter("*"))) == 2
    last = [claim(user_id) for user_id in range(20_001, 21_002)]
    assert ask(coupon, *last).count(Admitted()) == 1000


def test_what_was_decided_between_the_parts_of_a_loading_holds_no_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "CLAIMS_AT_ONCE", 2)
    under_way = [claim(user_id) for user_id in range(1, 5)]

    def run_apart(script: str, calls: Sequence[Call]) -> list[Any]:
        first, last = calls
        answers = [gate.run(script, first)]
        together.undo()
        settle((under_way[0], True), issued_count=1)
        return [*answers, gate.run(script, last)]

    with monkeypatch.context() as together:
        together.setattr(gate, "try_each", run_apart)
        gate.load(replace(COUPON, stock=9), under_way)

    assert set(gate.reservations(limit=9)) == set(under_way[1:])


def test_coupons_are_asked_for_in_one_call_whatever_redis_has_forgotten() -> None:
    coupons = [replace(COUPON, coupon_id=coupon_id) for coupon_id in (7, 8, 9)]
    gate.load_each([(coupon, []) for coupon in coupons[:2]])
    get_redis_connection("default").script_flush()
    claims = [claim(1, coupon_id=coupon.coupon_id) for coupon in coupons]

    answers = gate.admit_each([(coupon, [each]) for coupon, each in zip(coupons, claims, strict=True)])

    assert answers[:2] == [[Admitted()], [Admitted()]]
    assert isinstance(answers[2], GateUnknown)


def test_a_crowd_on_several_coupons_that_one_call_cannot_hold_is_answered_claim_by_claim() -> None:
    few, many, none = (replace(COUPON, coupon_id=7 + n, stock=stock) for n, stock in enumerate((2, 3000, 0)))
    gate.load_each([(coupon, []) for coupon in (few, many, none)])
    crowds = [
        (coupon, [claim(user_id, coupon_id=coupon.coupon_id) for user_id in users])
        for coupon, users in ((few, range(1, 4)), (many, range(1, 3001)), (none, [2**63 - 1]), (many, [1]))
    ]

    answers = gate.admit_each(crowds)

    first_of_many = crowds[1][1][0]
    assert answers == [
        [Admitted(), Admitted(), OutOfStock()],
        [Admitted()] * 3000,
        [OutOfStock()],
        [AlreadyRequested(first_request_id=first_of_many.request_id)],
    ]


@loaded
def test_all_keys_of_a_coupon_live_on_one_node_of_a_cluster() -> None:
    ask(COUPON, claim(1))
    settle(issued_count=0)

    keys = list(get_redis_connection("default").scan_iter("*"))

    assert keys
    assert all(key.startswith(b"{coupon:7}:") for key in keys)


@loaded
def test_redis_away_is_told_and_left_alone_for_a_second(redis_away: pytest.MonkeyPatch) -> None:
    with pytest.raises(GateUnavailable):
        ask(COUPON, claim(1))

    redis_away.undo()

    assert gate.is_away
    with pytest.raises(GateUnavailable):
        ask(COUPON, claim(1))


def test_a_view_knows_its_window() -> None:
    def moment(hour: int) -> datetime:
        return datetime(2030, 1, 1, hour, tzinfo=UTC)

    window = replace(COUPON, opens_at=moment(10), closes_at=moment(12))

    assert [window.is_open(moment(hour)) for hour in (9, 10, 11, 12)] == [False, True, True, False]
    assert not replace(COUPON, is_opened=False).is_open(moment(11))


@loaded
def test_thousands_of_claims_are_settled_at_once() -> None:
    coupon = replace(COUPON, stock=10_000)
    claims = [claim(user_id) for user_id in range(1, 10_001)]
    assert ask(coupon, *claims) == [Admitted()] * 10_000

    settle(*((each, n % 2 == 0) for n, each in enumerate(claims)), issued_count=5000)

    assert gate.reserved(7) == 0
    again = ask(replace(coupon, stock=5000, issued_count=5000), *(claim(n) for n in range(1, 10_001)))
    assert again[::2] == [AlreadyRequested(first_request_id=each.request_id) for each in claims[::2]]
    assert again[1::2] == [Admitted()] * 5000


def test_several_coupons_are_settled_in_one_call() -> None:
    coupons = [replace(COUPON, coupon_id=coupon_id) for coupon_id in (7, 8)]
    claims = [claim(1, coupon_id=coupon.coupon_id) for coupon in coupons]
    for coupon, each in zip(coupons, claims, strict=True):
        gate.load(coupon, [])
        gate.admit(coupon, [each])

    gate.notify(
        [
            Decisions(coupon_id=each.coupon_id, epoch="1", issued_count=1, decided=[(each, True)])
            for each in claims
        ]
    )

    assert [gate.reserved(coupon_id) for coupon_id in (7, 8)] == [0, 0]
    assert gate.issued_counts() == {7: 1, 8: 1}
