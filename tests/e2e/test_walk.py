"""The walk of docs/walk.md: seed, claim, duplicate, sold out, a crowd; on processes and real servers."""

from __future__ import annotations

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from coupons.models import Coupon, IssueOutcome, UserCoupon
from tests.factories import make_coupon, make_users
from tests.system import System, eventually


def test_a_claim_is_accepted_issued_and_told(system: System) -> None:
    coupon, [user] = make_coupon(stock=100), make_users(1)

    accepted = system.claim(coupon.pk, user)

    assert accepted.status == 202
    assert accepted.body["success"] is True
    assert accepted.body["message"] == (
        "쿠폰 발급 요청이 정상적으로 접수되었습니다. 잠시 후 쿠폰이 발급됩니다."
    )
    request_id = accepted.body["requestId"]
    assert accepted.headers["Location"] == f"/api/coupons/requests/{request_id}"
    [status] = system.wait_decided([request_id])
    user_coupon = UserCoupon.objects.get(coupon_id=coupon.pk, user_id=user)
    assert status["status"] == "ISSUED"
    assert status["rank"] == 1
    assert status["userCouponId"] == user_coupon.pk
    assert (status["couponId"], status["userId"], status["reason"]) == (coupon.pk, user, None)
    assert status["requestedAt"] <= status["processedAt"]
    assert status["offset"] == 0
    assert "position" not in status
    assert system.get(f"/api/coupons/{coupon.pk}").body["stock"] == 99
    [held] = system.get(f"/api/coupons/users/{user}").body["userCoupons"]
    assert held["userCouponId"] == user_coupon.pk
    assert held["usedAt"] is None


def test_the_second_claim_is_refused_and_names_the_first(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    first = running.claim(coupon.pk, user).body["requestId"]

    at_once = running.claim(coupon.pk, user)
    running.wait_decided([first])
    later = running.claim(coupon.pk, user)

    for refused in (at_once, later):
        assert (refused.status, refused.code) == (409, "ALREADY_REQUESTED")
        assert refused.body["requestId"] == first


def test_a_hundred_claims_of_one_user_are_one(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    with ThreadPoolExecutor(10) as crowd:
        answers = list(crowd.map(lambda _: running.claim(coupon.pk, user), range(100)))

    assert Counter((a.status, a.code) for a in answers) == {(202, None): 1, (409, "ALREADY_REQUESTED"): 99}


def test_a_crowd_gets_exactly_the_stock(running: System) -> None:
    coupon, users = make_coupon(stock=100), make_users(500)

    answers = running.claim_all(coupon.pk, users, at_once=50)

    told = Counter((answer.status, answer.code) for answer in answers.values())
    assert told == {(202, None): 100, (409, "OUT_OF_STOCK"): 400}
    statuses = running.wait_decided([a.body["requestId"] for a in answers.values() if a.status == 202])
    assert {status["status"] for status in statuses} == {"ISSUED"}
    assert sorted(status["rank"] for status in statuses) == list(range(1, 101))
    coupon.refresh_from_db()
    assert (coupon.stock, coupon.issued_count) == (0, 100)
    # First come, first served by the log: rank follows the offset.
    by_offset = sorted(statuses, key=lambda status: status["offset"])
    assert [status["rank"] for status in by_offset] == list(range(1, 101))
    assert IssueOutcome.objects.filter(coupon_id=coupon.pk).count() == 100
    assert UserCoupon.objects.filter(coupon_id=coupon.pk).values("user_id").distinct().count() == 100


def test_each_event_leaves_its_log_lines(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    request_id = running.claim(coupon.pk, user).body["requestId"]
    [status] = running.wait_decided([request_id])

    user_coupon_id = UserCoupon.objects.get(user_id=user).pk
    names = f"EventId: {request_id}, UserId: {user}, CouponId: {coupon.pk}"
    assert running.log_text("core").count(f"쿠폰 발급 이벤트 발행 - {names}") == 1
    consumer = running.log_text("consumer")
    assert re.search(rf"쿠폰 발급 이벤트 수신 - Partition: \d, Offset: {status['offset']}\n", consumer)
    assert f"쿠폰 발급 이벤트 처리 시작 - {names}" in consumer
    # Written once it is so: whoever asks may hear of it before.
    issued = f"쿠폰 발급 성공 - EventId: {request_id}, UserCouponId: {user_coupon_id}"
    eventually(lambda: issued in running.log_text("consumer"))


def test_sold_out_is_refused_and_a_top_up_opens_again(running: System) -> None:
    coupon, users = make_coupon(stock=1), make_users(30)
    first = running.claim(coupon.pk, users[0])
    running.wait_decided([first.body["requestId"]])
    sold_out = running.claim(coupon.pk, users[1])
    assert (sold_out.status, sold_out.code) == (409, "OUT_OF_STOCK")
    assert sold_out.body["message"] == f"쿠폰 재고가 부족합니다. 쿠폰 ID: {coupon.pk}"

    Coupon.objects.filter(pk=coupon.pk).update(stock=10)

    time.sleep(2)  # so long may a change made straight in the database take (docs/api.md, promise 8)
    answers = running.claim_all(coupon.pk, users[2:])
    assert Counter(answer.status for answer in answers.values()) == {202: 10, 409: 18}
    eventually(lambda: UserCoupon.objects.filter(coupon_id=coupon.pk).count() == 11)
