"""A gate that was not told of decisions is told later, once, and exactly."""

from __future__ import annotations

import pytest
from uuid_utils.compat import uuid7

from coupons import catalog, gate_loading
from coupons.admission import Admitted, Claim, OutOfStock, gate
from coupons.allocation import IssueRequest
from coupons.catalog import CouponView
from coupons.gate_catching_up import CatchingUp
from coupons.issuing import issue_coupons
from coupons.models import Coupon
from tests.factories import make_coupon, make_event, make_users

pytestmark = pytest.mark.django_db(transaction=True)


def _view(coupon: Coupon) -> CouponView:
    view = catalog.coupon_view(coupon.pk, fresh=True)
    assert view is not None
    return view


def _reserve(coupon: Coupon, user_id: int) -> Claim:
    claim = Claim(coupon_id=coupon.pk, user_id=user_id, request_id=uuid7())
    assert gate.admit(_view(coupon), [claim]) == [Admitted()]
    return claim


def _decide_untold(claim: Claim, *, offset: int) -> None:
    """As a consumer does while Redis is away."""
    event = make_event(coupon_id=claim.coupon_id, user_id=claim.user_id, event_id=claim.request_id)
    issue_coupons([IssueRequest(event=event, partition=0, offset=offset)])


@pytest.fixture
def coupon(topic: str) -> Coupon:
    coupon = make_coupon(stock=3)
    gate_loading.load(_view(coupon))
    return coupon


def test_decisions_that_the_gate_missed_are_told_at_the_second_look(coupon: Coupon) -> None:
    users = make_users(4)
    missed, waiting = [_reserve(coupon, user) for user in users[:2]]
    _decide_untold(missed, offset=0)
    catching_up = CatchingUp()

    assert catching_up.look() == []
    assert gate.issued_counts() == {coupon.pk: 0}
    assert catching_up.look() == [coupon.pk]

    assert gate.issued_counts() == {coupon.pk: 1}
    assert gate.reservations(limit=10) == [waiting]
    assert catching_up.look() == []
    last = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users[2:]]
    assert gate.admit(_view(coupon), last) == [Admitted(), OutOfStock()]


def test_a_gate_that_is_told_in_time_is_left_alone(coupon: Coupon) -> None:
    [user, other] = make_users(2)
    catching_up = CatchingUp()
    _decide_untold(_reserve(coupon, user), offset=0)
    assert catching_up.look() == []

    _decide_untold(_reserve(coupon, other), offset=1)

    assert catching_up.look() == [], "it is behind by another count: a consumer is at work"


def test_only_the_coupon_that_is_behind_is_told(coupon: Coupon) -> None:
    [user, other] = make_users(2)
    neighbour = make_coupon(stock=3)
    gate_loading.load(_view(neighbour))
    standing = _reserve(neighbour, other)
    _decide_untold(_reserve(coupon, user), offset=0)
    catching_up = CatchingUp()

    assert [catching_up.look(), catching_up.look()] == [[], [coupon.pk]]

    assert gate.reservations(limit=10) == [standing]
    assert gate.reservations(limit=10, coupon_id=coupon.pk) == []
