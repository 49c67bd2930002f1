"""A gate that was not told of decisions is told later, once, and exactly."""

from __future__ import annotations

import pytest
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from coupons import coupon_cache
from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog.events import IssueRequest, encode, partition_key
from coupons.eventlog.place import Place
from coupons.gate import catching_up, loading
from coupons.gate.admission import (
    Admitted,
    Decisions,
    OutOfStock,
    gate,
)
from coupons.gate.catching_up import CatchingUp
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon
from tests import broker
from tests.factories import make_coupon, make_event, make_users

pytestmark = pytest.mark.django_db(transaction=True)


def _view(coupon: Coupon) -> CachedCoupon:
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    return view


def _reserve(coupon: Coupon, user_id: int) -> Claim:
    claim = Claim(coupon_id=coupon.pk, user_id=user_id, request_id=uuid7())
    assert gate.admit(_view(coupon), [claim]) == [Admitted()]
    return claim


def _decide_untold(claim: Claim, *, offset: int) -> None:
    """As a consumer does while Redis is away."""
    event = make_event(coupon_id=claim.coupon_id, user_id=claim.user_id, request_id=claim.request_id)
    issue_coupons([IssueRequest(event=event, place=Place(0, offset))])


@pytest.fixture
def coupon(topic: str) -> Coupon:
    coupon = make_coupon(stock=3)
    loading.load(_view(coupon))
    return coupon


def test_decisions_that_the_gate_missed_are_told_at_the_second_look(coupon: Coupon) -> None:
    users = make_users(4)
    missed, waiting = [_reserve(coupon, user) for user in users[:2]]
    _decide_untold(missed, offset=0)
    catches = CatchingUp()

    assert catches.look() == []
    assert gate.issued_counts() == {coupon.pk: 0}
    assert catches.look() == [coupon.pk]

    assert gate.issued_counts() == {coupon.pk: 1}
    assert gate.reservations(limit=10) == [waiting]
    assert catches.look() == []
    last = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users[2:]]
    assert gate.admit(_view(coupon), last) == [Admitted(), OutOfStock()]


def test_a_gate_that_is_told_in_time_is_left_alone(coupon: Coupon) -> None:
    [user, other] = make_users(2)
    catches = CatchingUp()
    first = _reserve(coupon, user)
    _decide_untold(first, offset=0)
    assert catches.look() == []

    gate.release([first])
    _decide_untold(_reserve(coupon, other), offset=1)

    assert catches.look() == [], "it is behind by another count: a consumer is at work"


def test_a_reservation_that_another_master_was_told_of_is_freed_at_the_second_look(coupon: Coupon) -> None:
    """After a failover; the count is right, because a later decision told it."""
    [user, other] = make_users(2)
    waiting, over = _reserve(coupon, user), _reserve(coupon, other)
    _decide_untold(over, offset=0)
    told = Decisions(coupon_id=coupon.pk, epoch=_view(coupon).epoch, issued_count=1, decided=[])
    gate.notify([told])
    catches = CatchingUp()

    assert [catches.look(), catches.look(), catches.look()] == [[], [coupon.pk], []]

    assert gate.issued_counts() == {coupon.pk: 1}
    assert gate.reservations(limit=10) == [waiting]


def test_only_the_coupon_that_is_behind_is_told(coupon: Coupon) -> None:
    [user, other] = make_users(2)
    neighbour = make_coupon(stock=3)
    loading.load(_view(neighbour))
    standing = _reserve(neighbour, other)
    _decide_untold(_reserve(coupon, user), offset=0)
    catches = CatchingUp()

    assert [catches.look(), catches.look()] == [[], [coupon.pk]]

    assert gate.reservations(limit=10) == [standing]
    assert gate.reservations(limit=10, coupon_id=coupon.pk) == []


def test_more_reservations_than_one_step_takes_are_all_freed(
    coupon: Coupon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "MOST_AT_ONCE", 2)
    big = make_coupon(stock=7)
    loading.load(_view(big))
    users = make_users(9)
    for offset, claim in enumerate([_reserve(big, user) for user in users[:5]]):
        _decide_untold(claim, offset=offset)
    catches = CatchingUp()

    assert [catches.look(), catches.look()] == [[], [big.pk]]

    assert gate.reservations(limit=10) == []
    last = [Claim(coupon_id=big.pk, user_id=user, request_id=uuid7()) for user in users[5:8]]
    assert gate.admit(_view(big), last) == [Admitted(), Admitted(), OutOfStock()]


def test_a_count_above_the_row_of_a_database_that_has_decided_everything_is_corrected(coupon: Coupon) -> None:
    [user] = make_users(1)
    get_redis_connection("default").hset(f"{{coupon:{coupon.pk}}}:gate", "issued", 3)
    claim = Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())
    assert gate.admit(_view(coupon), [claim]) == [OutOfStock()]
    catches = CatchingUp()

    assert [catches.look(), catches.look(), catches.look()] == [[], [coupon.pk], []]

    assert gate.admit(_view(coupon), [claim]) == [Admitted()]


def test_a_database_that_went_back_does_not_take_the_count_back(coupon: Coupon, topic: str) -> None:
    """Restored or lagging: what it forgot stands in the log, and will be decided again."""
    [user, late] = make_users(2)
    event = make_event(coupon_id=coupon.pk, user_id=user)
    broker.write(topic, encode(event), key=partition_key(coupon.pk))
    get_redis_connection("default").hset(f"{{coupon:{coupon.pk}}}:gate", "issued", 3)
    catches = CatchingUp()

    assert [catches.look() for _ in range(3)] == [[], [], []]

    claim = Claim(coupon_id=coupon.pk, user_id=late, request_id=uuid7())
    assert gate.admit(_view(coupon), [claim]) == [OutOfStock()]


def test_coupons_with_very_many_reservations_hide_no_decided_one(
    coupon: Coupon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As paused ones have, whose requests are undecided for as long as somebody wants."""
    monkeypatch.setattr(catching_up, "MOST_LOOKED_AT", 4)
    monkeypatch.setattr(catching_up, "MOST_OF_ONE", 2)
    users = make_users(5)
    behind = make_coupon(stock=1)
    loading.load(_view(behind))
    for user in users[:3]:
        _reserve(coupon, user)
    _decide_untold(_reserve(behind, users[4]), offset=0)

    assert catching_up.free_decided() == [behind.pk]
