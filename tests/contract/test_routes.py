"""Every route's good answer: status, headers, JSON."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from coupons.models import Coupon, UserCoupon
from tests import broker
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, System, ask, eventually

STATUS = {
    "requestId",
    "couponId",
    "userId",
    "status",
    "reason",
    "userCouponId",
    "rank",
    "requestedAt",
    "processedAt",
    "partition",
    "offset",
}


def claim(running: System, coupon: Coupon, user: int) -> str:
    answer = running.claim(coupon.pk, user)
    assert answer.status == 202, answer
    request_id: str = answer.body["requestId"]
    return request_id


def is_json(answer: HttpAnswer) -> bool:
    return answer.headers["Content-Type"] == "application/json"


def test_a_coupon_is_shown(running: System) -> None:
    opens_at = datetime(2024, 5, 1, 12, 0, 0, 123000, tzinfo=UTC)
    coupon = make_coupon(stock=7, opens_at=opens_at)

    answer = running.get(f"/api/coupons/{coupon.pk}")

    assert answer.status == 200
    assert is_json(answer)
    assert answer.body == {
        "couponId": coupon.pk,
        "description": "신규가입 할인쿠폰",
        "discountAmount": 5000,
        "stock": 7,
        "couponStatus": "OPENED",
        "issuedCount": 0,
        "opensAt": 1714564800123,
        "closesAt": None,
        "eligibleOnly": False,
    }


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("", "쿠폰 발급 요청이 정상적으로 접수되었습니다. 잠시 후 쿠폰이 발급됩니다."),
        ("en", "Your coupon request was accepted. The coupon will be issued shortly."),
    ],
)
def test_a_claim_is_accepted(running: System, language: str, message: str) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    answer = running.claim(coupon.pk, user, **({"Accept_Language": language} if language else {}))

    assert answer.status == 202
    assert is_json(answer)
    assert set(answer.body) == {"success", "message", "requestId"}
    assert (answer.body["success"], answer.body["message"]) == (True, message)
    assert answer.headers["Location"] == f"/api/coupons/requests/{UUID(answer.body['requestId'])}"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (None, {}),
        (None, {"Content-Type": "application/json"}),
        (b"", {"Content-Type": "application/json", "Content-Length": "0"}),
        (None, {"Content-Type": "application/xml"}),
        (None, {"Content-Type": "nonsense"}),
        (b"{}", {"Content-Type": "application/json"}),
        (b'{"userId": 5}', {"Content-Type": "application/x-www-form-urlencoded"}),
        (None, {"Accept": "text/html"}),
        (None, {"Accept": "application/xml;q=1"}),
        (None, {"Origin": "https://elsewhere.example", "Referer": "https://elsewhere.example/page"}),
        (None, {"Cookie": "csrftoken=x; sessionid=y"}),
        (None, {"Authorization": "Basic nonsense"}),
    ],
)
def test_a_claim_needs_no_body_no_csrf_token_and_no_fitting_headers(
    running: System, body: bytes | None, headers: dict[str, str]
) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    path = f"/api/coupons/{coupon.pk}/issue?userId={user}"

    answer = ask(running.api.port, "POST", path, body=body, headers=headers)

    assert answer.status == 202
    assert is_json(answer)
    [status] = running.wait_decided([answer.body["requestId"]])
    assert (status["userId"], status["status"]) == (user, "ISSUED")


def test_an_issued_request_is_told(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    before_ms = time.time_ns() // 1_000_000
    request_id = claim(running, coupon, user)
    running.wait_decided([request_id])

    answer = running.status(request_id)

    assert answer.status == 200
    assert set(answer.body) == STATUS
    assert answer.body["requestId"] == request_id
    assert (answer.body["couponId"], answer.body["userId"]) == (coupon.pk, user)
    assert (answer.body["status"], answer.body["reason"], answer.body["rank"]) == ("ISSUED", None, 1)
    assert answer.body["userCouponId"] == UserCoupon.objects.get(user_id=user).pk
    assert before_ms <= answer.body["requestedAt"] <= answer.body["processedAt"] <= before_ms + 60_000
    assert answer.body["partition"] in (0, 1, 2)
    assert answer.body["offset"] >= 0


@pytest.mark.usefixtures("_consumer_stands_still")
def test_a_request_under_way_is_pending_with_position_and_eta(running: System) -> None:
    coupon, users = make_coupon(), make_users(3)
    request_ids = [claim(running, coupon, user) for user in users]

    answers = [running.status(request_id) for request_id in request_ids]

    for answer, user in zip(answers, users, strict=True):
        assert answer.status == 200
        assert set(answer.body) == STATUS | {"position", "etaSeconds"}
        assert (answer.body["status"], answer.body["userId"]) == ("PENDING", user)
        assert answer.body["processedAt"] is None
    offsets = [answer.body["offset"] for answer in answers]
    assert offsets == [offsets[0], offsets[0] + 1, offsets[0] + 2]


def test_a_position_counts_what_is_ahead_and_an_eta_is_seconds(running: System) -> None:
    coupon, users = make_coupon(), make_users(4)
    # The consumer says how far it is once it has decided something.
    running.wait_decided([claim(running, coupon, users[0])])
    with running.consumers[0].paused():
        request_ids = [claim(running, coupon, user) for user in users[1:]]

        told = [running.status(request_id).body for request_id in request_ids]

    assert [each["position"] for each in told] == [0, 1, 2]
    assert all(isinstance(each["etaSeconds"], float) and each["etaSeconds"] < 60 for each in told)


def test_a_rejected_request_is_told_why(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    with running.consumers[0].paused():
        request_id = claim(running, coupon, user)
        Coupon.objects.filter(pk=coupon.pk).update(coupon_status="CLOSED")

    [status] = running.wait_decided([request_id])

    assert set(status) == STATUS
    assert (status["status"], status["reason"]) == ("REJECTED", "COUPON_CLOSED")
    assert (status["userCouponId"], status["rank"]) == (None, None)


def test_a_request_in_the_dead_letters_is_failed(running: System) -> None:
    request_id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    event = {"eventId": request_id, "userId": 1, "couponId": 987_654, "timestamp": 5, "version": 1}
    [(partition, offset)] = broker.write(running.topic, json.dumps(event).encode())

    [status] = running.wait_decided([request_id])

    assert (status["status"], status["reason"]) == ("FAILED", "COUPON_NOT_FOUND")
    assert (status["partition"], status["offset"]) == (partition, offset)
    assert (status["couponId"], status["userId"], status["requestedAt"]) == (987_654, 1, 5)


def test_a_request_id_in_upper_case_is_the_same_request(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    request_id = claim(running, coupon, user)

    assert running.status(request_id.upper()).body["requestId"] == request_id


def test_a_users_coupons_are_shown_newest_first(running: System) -> None:
    coupons, [user] = [make_coupon(), make_coupon(), make_coupon()], make_users(1)
    for coupon in coupons:
        running.wait_decided([claim(running, coupon, user)])
    used_at = datetime(2024, 5, 1, tzinfo=UTC)
    UserCoupon.objects.filter(coupon=coupons[0]).update(status="USED", used_at=used_at)

    answer = running.get(f"/api/coupons/users/{user}")

    assert answer.status == 200
    held: list[dict[str, Any]] = answer.body["userCoupons"]
    assert set(answer.body) == {"userCoupons"}
    assert [each["couponId"] for each in held] == [coupon.pk for coupon in reversed(coupons)]
    assert all(
        set(each) == {"userCouponId", "userId", "couponId", "status", "issuedAt", "usedAt"} for each in held
    )
    assert {each["userId"] for each in held} == {user}
    assert [(each["status"], each["usedAt"]) for each in held] == [
        ("ISSUED", None),
        ("ISSUED", None),
        ("USED", 1714521600000),
    ]
    assert held[0]["issuedAt"] >= held[1]["issuedAt"] > time.time_ns() // 1_000_000 - 60_000


def test_a_user_without_coupons_has_none(running: System) -> None:
    [user] = make_users(1)

    assert running.get(f"/api/coupons/users/{user}").body == {"userCoupons": []}


def test_the_queue_size_is_what_is_accepted_and_undecided(running: System) -> None:
    coupon, other, users = make_coupon(), make_coupon(), make_users(3)
    path = f"/api/coupons/{coupon.pk}/queue-size"
    with running.consumers[0].paused():
        for user in users:
            claim(running, coupon, user)
        claim(running, other, users[0])

        korean, english = running.get(path), running.get(path, Accept_Language="en")

    assert korean.status == 200
    assert set(korean.body) == {"couponId", "queueSize", "message"}
    assert (korean.body["couponId"], korean.body["queueSize"]) == (coupon.pk, 3)
    assert re.search("[가-힣]", korean.body["message"])
    assert english.body["message"].isascii()
    eventually(lambda: running.get(path).body["queueSize"] == 0)


def test_a_claim_of_a_coupon_typed_in_a_moment_ago_works(running: System) -> None:
    [user] = make_users(1)
    path = "/api/coupons/76543/issue"
    assert ask(running.api.port, "POST", f"{path}?userId={user}").code == "COUPON_NOT_FOUND"

    Coupon.objects.create(coupon_id=76543, description="new", discount_amount=1, stock=1)

    # A worker that was asked for it before remembers for 200 ms that there is none.
    eventually(lambda: ask(running.api.port, "POST", f"{path}?userId={user}").status == 202)
