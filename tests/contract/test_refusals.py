"""Every refusal: its status, its JSON, Korean and English, and nothing of our insides."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from coupons import selectors
from coupons.models import UserCoupon
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, System, ask

UNKNOWN_REQUEST = "/api/coupons/requests/3f2504e0-4f89-41d3-9a0c-0305e82c3399"
Question = tuple[str, str]


def issue(coupon_id: int, user_id: object) -> Question:
    return "POST", f"/api/coupons/{coupon_id}/issue?userId={user_id}"


def user() -> int:
    return make_users(1)[0]


def later(hours: int) -> object:
    return timezone.now() + timedelta(hours=hours)


def already_has() -> Question:
    coupon, holder = make_coupon(), user()
    UserCoupon.objects.create(coupon=coupon, user_id=holder)
    return issue(coupon.pk, holder)


REFUSALS: list[tuple[str, int, Callable[[], Question]]] = [
    ("INVALID_REQUEST", 400, lambda: issue(make_coupon().pk, "abc")),
    ("USER_NOT_FOUND", 404, lambda: issue(make_coupon().pk, 987_654)),
    ("COUPON_NOT_FOUND", 404, lambda: issue(987_654, user())),
    ("COUPON_NOT_FOUND", 404, lambda: ("GET", "/api/coupons/987654")),
    ("COUPON_NOT_FOUND", 404, lambda: ("GET", "/api/coupons/987654/queue-size")),
    ("NOT_ELIGIBLE", 403, lambda: issue(make_coupon(eligible_only=True).pk, user())),
    ("COUPON_CLOSED", 409, lambda: issue(make_coupon(coupon_status="CLOSED").pk, user())),
    ("COUPON_CLOSED", 409, lambda: issue(make_coupon(opens_at=later(1)).pk, user())),
    ("COUPON_CLOSED", 409, lambda: issue(make_coupon(closes_at=later(-1)).pk, user())),
    ("OUT_OF_STOCK", 409, lambda: issue(make_coupon(stock=0).pk, user())),
    ("ALREADY_REQUESTED", 409, already_has),
    ("REQUEST_NOT_FOUND", 404, lambda: ("GET", UNKNOWN_REQUEST)),
    ("NOT_FOUND", 404, lambda: ("GET", "/api/coupons/abc")),
    ("NOT_FOUND", 404, lambda: ("GET", "/nothing/here")),
    ("METHOD_NOT_ALLOWED", 405, lambda: ("DELETE", "/api/coupons/1")),
]


def check_shape(answer: HttpAnswer) -> None:
    assert answer.headers["Content-Type"].endswith("json")
    assert set(answer.body) == {"success", "code", "message", "requestId"}
    assert answer.body["success"] is False
    assert isinstance(answer.body["requestId"], str)


@pytest.mark.parametrize(
    ("code", "status", "arrange"), REFUSALS, ids=[f"{code}-{n}" for n, (code, *_) in enumerate(REFUSALS)]
)
def test_each_refusal_in_both_languages(
    running: System, code: str, status: int, arrange: Callable[[], Question]
) -> None:
    method, path = arrange()

    korean = ask(running.api.port, method, path)
    english = ask(running.api.port, method, path, headers={"Accept-Language": "en-US,en;q=0.9,ko;q=0.8"})

    for answer in (korean, english):
        assert (answer.status, answer.code) == (status, code)
        check_shape(answer)
        assert answer.body["requestId"] == ""
    assert re.search("[가-힣]", korean.body["message"])
    assert english.body["message"].isascii()


def test_out_of_stock_word_for_word(running: System) -> None:
    coupon = make_coupon(stock=0)

    answer = running.claim(coupon.pk, user())

    assert answer.body["message"] == f"쿠폰 재고가 부족합니다. 쿠폰 ID: {coupon.pk}"


def test_already_requested_names_the_first_request_before_and_after_its_decision(running: System) -> None:
    coupon, holder = make_coupon(), user()
    with running.consumers[0].paused():
        first = running.claim(coupon.pk, holder).body["requestId"]
        under_way = running.claim(coupon.pk, holder)
    running.wait_decided([first])
    decided = running.claim(coupon.pk, holder)

    for answer in (under_way, decided):
        assert (answer.status, answer.code) == (409, "ALREADY_REQUESTED")
        check_shape(answer)
        assert answer.body["requestId"] == first
        assert running.status(answer.body["requestId"]).status == 200


def test_who_cannot_win_any_more_is_told_before_who_has_not_asked(running: System) -> None:
    coupon, holder = make_coupon(stock=1), user()
    running.wait_decided([running.claim(coupon.pk, holder).body["requestId"]])

    assert running.claim(coupon.pk, holder).code == "ALREADY_REQUESTED"
    assert running.claim(coupon.pk, user()).code == "OUT_OF_STOCK"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/coupons/1/issue", {"POST", "OPTIONS"}),
        ("PUT", "/api/coupons/1/issue", {"POST", "OPTIONS"}),
        ("HEAD", "/api/coupons/1/issue", {"POST", "OPTIONS"}),
        ("POST", "/api/coupons/1", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/api/coupons/users/1", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", UNKNOWN_REQUEST, {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/api/coupons/1/queue-size", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/api/schema", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_told_which_are_right(
    running: System, method: str, path: str, allowed: set[str]
) -> None:
    answer = ask(running.api.port, method, path)

    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) == allowed
    if method != "HEAD":
        check_shape(answer)
        assert answer.code == "METHOD_NOT_ALLOWED"


@pytest.mark.django_db
@pytest.mark.filterwarnings("ignore:No directory at:UserWarning")  # collectstatic was not run
def test_an_unexpected_error_is_a_refusal_without_a_trace(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(user_id: int) -> None:
        raise RuntimeError("the inside of the machine")

    monkeypatch.setattr(selectors, "coupons_of_user", fail)
    client.raise_request_exception = False

    answer = client.get("/api/coupons/users/1", headers={"host": "localhost"})

    assert answer.status_code == 500
    assert answer.json()["code"] == "INTERNAL_ERROR"
    assert set(answer.json()) == {"success", "code", "message", "requestId"}
    assert b"inside" not in answer.content
    assert b"Traceback" not in answer.content
