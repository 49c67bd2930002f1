"""Redis flushed under a backlog, in the whole system: claims on hundreds of cold coupons are all answered."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django_redis import get_redis_connection

from coupons.eventlog.events import encode, partition_key
from coupons.models import Coupon
from tests import broker
from tests.factories import make_coupon, make_event, make_users
from tests.system import HttpAnswer, System

pytestmark = pytest.mark.django_db(transaction=True)

_COUPONS = 200
_EVENTS = 4_000  #: undecided: nobody consumes


def _coupons() -> list[int]:
    """With stock for what is under way, and for one more."""
    stock = _EVENTS // _COUPONS + 1
    return [make_coupon(stock=stock).pk for _ in range(_COUPONS)]


def _write_backlog(topic: str, coupon_ids: list[int], users: list[int]) -> None:
    for coupon_id in coupon_ids:
        events = [encode(make_event(coupon_id=coupon_id, user_id=user)) for user in users]
        broker.write(topic, *events, key=partition_key(coupon_id), together=True)


def test_claims_on_cold_coupons_are_answered_and_warm_ones_pass_by(
    transactional_db: None, topic: str
) -> None:
    coupon_ids, users = _coupons(), make_users(_EVENTS // _COUPONS + 3)
    warm = make_coupon(stock=100_000).pk
    warm_users = iter(make_users(3_000))
    _write_backlog(topic, coupon_ids, users[:-3])

    with System(topic=topic, consumers=0) as system, ThreadPoolExecutor(32) as crowd:
        get_redis_connection("default").flushdb()
        assert system.claim(warm, next(warm_users)).status == 202  # loads its gate

        def claim(wanted: tuple[int, int]) -> HttpAnswer:
            return system.claim(*wanted)

        asking = [crowd.submit(claim, (pk, user)) for user in users[-3:-1] for pk in coupon_ids]
        slowest_s = 0.0
        while not all(each.done() for each in asking):
            began_at = time.monotonic()
            assert system.claim(warm, next(warm_users)).status == 202
            slowest_s = max(slowest_s, time.monotonic() - began_at)
        answers = [each.result() for each in asking]
        held = system.claim(coupon_ids[0], users[0])

    assert sorted({answer.status for answer in answers}) == [202, 409]
    assert [answer.status for answer in answers].count(202) == _COUPONS
    assert {answer.code for answer in answers if answer.status == 409} == {"OUT_OF_STOCK"}
    assert held.code == "ALREADY_REQUESTED"
    assert slowest_s < 5, "a claim on a warm coupon waited for others' loading"
    assert Coupon.objects.get(pk=warm).issued_count == 0
