"""Limits (COUPON_LIMIT_…) on the running API: who is told 429, and what every answer says is left."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from coupons.models import SecondFigures
from tests.contract.test_openapi import hold
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, System, ask, eventually

_LEFT = re.compile(r'"(address|user)";r=(\d+);t=(\d+)')


@contextmanager
def served(running: System, **env: str) -> Iterator[int]:
    server = running.new_api(**env)
    server.start()
    try:
        server.wait_ready()
        yield server.port
    finally:
        server.kill()


@pytest.fixture(scope="module")
def port(running: System) -> Iterator[int]:
    """Two workers, behind a proxy on this machine. Hardly a token comes back while a test runs."""
    limits = {
        "COUPON_LIMIT_USER_PER_MINUTE": "1",
        "COUPON_LIMIT_USER_BURST": "3",
        "COUPON_LIMIT_ADDRESS_PER_MINUTE": "1",
        "COUPON_LIMIT_ADDRESS_BURST": "8",
        "COUPON_PROXIES": "127.0.0.0/8",
        "COUPON_CORS_ORIGINS": "https://shop.example",
    }
    with served(running, **limits) as port:
        yield port


@pytest.fixture
def client() -> str:
    """An address of this test alone."""
    number = uuid.uuid4().int
    return f"10.{number % 250}.{number // 250 % 250}.{number // 62_500 % 250}"


def get(port: int, path: str, client: str, **headers: str) -> HttpAnswer:
    return ask(port, "GET", path, headers={"X-Forwarded-For": client, **headers})


def claim(port: int, coupon: int, user: object, client: str, **headers: str) -> HttpAnswer:
    path = f"/api/coupons/{coupon}/issue?userId={user}"
    return ask(port, "POST", path, headers={"X-Forwarded-For": client, **headers})


def left(answer: HttpAnswer) -> dict[str, tuple[int, int]]:
    """By limit: how many are left, and for how long."""
    told = _LEFT.findall(answer.headers["RateLimit"])
    return {name: (int(remaining), int(seconds)) for name, remaining, seconds in told}


def test_a_user_has_a_burst_and_is_told_when_to_come_back(port: int, client: str) -> None:
    coupon, [user, other] = make_coupon(), make_users(2)
    answers = [claim(port, coupon.pk, user, client) for _ in range(4)]

    assert [answer.status for answer in answers] == [202, 409, 409, 429]
    for answer in answers:
        hold(answer, "claimCoupon")
        assert answer.headers["RateLimit-Policy"] == '"address";q=8;w=480, "user";q=3;w=180'
    assert [left(answer)["user"][0] for answer in answers] == [2, 1, 0, 0]
    refused = answers[-1]
    assert refused.code == "TOO_MANY_REQUESTS"
    assert refused.headers["Retry-After"] == str(left(refused)["user"][1])
    assert 50 <= int(refused.headers["Retry-After"]) <= 60
    assert claim(port, coupon.pk, other, client).status == 202


def test_an_address_is_limited_over_all_routes(port: int, client: str) -> None:
    coupon, users = make_coupon(), make_users(4)
    let = [
        get(port, f"/api/coupons/{coupon.pk}", client),
        get(port, f"/api/coupons/{coupon.pk}/queue-size", client),
        get(port, f"/api/coupons/requests/{uuid.uuid4()}", client),
        get(port, "/api/schema", client),
        *(claim(port, coupon.pk, user, client) for user in users),
    ]

    refused = {
        "getCoupon": get(port, f"/api/coupons/{coupon.pk}", client),
        "getQueueSize": get(port, f"/api/coupons/{coupon.pk}/queue-size", client),
        "getUserCoupons": get(port, f"/api/coupons/users/{users[0]}", client, Accept_Language="en"),
        "getRequest": get(port, f"/api/coupons/requests/{uuid.uuid4()}", client),
        "claimCoupon": claim(port, coupon.pk, make_users(1)[0], client),
    }

    assert [answer.status for answer in let] == [200, 200, 404, 200, 202, 202, 202, 202]
    assert [left(answer)["address"][0] for answer in let] == [7, 6, 5, 4, 3, 2, 1, 0]
    for operation, answer in refused.items():
        assert (answer.status, answer.code) == (429, "TOO_MANY_REQUESTS"), operation
        assert left(answer)["address"][0] == 0
        hold(answer, operation)
    assert refused["getUserCoupons"].body["message"] == "Too many requests. Please try again shortly."
    assert refused["getCoupon"].body["message"] == "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요."


def test_a_claim_that_is_refused_anyway_is_counted_too(port: int, client: str) -> None:
    statuses = [claim(port, 1, "x", client).status for _ in range(9)]

    assert statuses == [400] * 8 + [429]


def test_health_metrics_and_preflights_are_not_limited(port: int, client: str) -> None:
    for _ in range(9):
        get(port, "/api/coupons/987654321", client)
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}

    assert get(port, "/api/coupons/987654321", client).status == 429
    assert get(port, "/actuator/health/liveness", client).status == 200
    assert get(port, "/actuator/prometheus", client).status == 200
    asked = ask(port, "OPTIONS", "/api/coupons/1/issue", headers={"X-Forwarded-For": client, **preflight})
    assert asked.status == 200


def test_a_page_may_read_a_refusal(port: int, client: str) -> None:
    answers = [get(port, "/api/coupons/987654321", client, Origin="https://shop.example") for _ in range(9)]

    refused = {name.lower(): value for name, value in answers[-1].headers.items()}
    assert answers[-1].status == 429
    assert refused["access-control-allow-origin"] == "https://shop.example"
    assert "RateLimit" in refused["access-control-expose-headers"]


def test_the_address_is_the_one_that_our_proxy_added(port: int, client: str) -> None:
    """What the client has written before it changes nothing, whatever it is."""
    for number in range(8):
        get(port, "/api/coupons/987654321", f"198.51.100.{number}, {client}")

    assert get(port, "/api/coupons/987654321", f"198.51.100.99, {client}").status == 429
    assert get(port, "/api/coupons/987654321", f"{client}, 198.51.100.99").status == 404


def test_who_is_no_proxy_of_ours_names_no_address(running: System) -> None:
    limits = {"COUPON_LIMIT_ADDRESS_PER_MINUTE": "1", "COUPON_LIMIT_ADDRESS_BURST": "4"}
    with served(running, COUPON_PROXIES="192.0.2.0/24", **limits) as port:
        statuses = [get(port, "/api/coupons/987654321", f"198.51.100.{n}").status for n in range(6)]

    assert statuses == [404] * 4 + [429] * 2


def test_who_goes_on_asking_is_answered_after_others(running: System) -> None:
    limits = {"COUPON_LIMIT_ADDRESS_PER_MINUTE": "1", "COUPON_LIMIT_ADDRESS_BURST": "2"}
    with served(running, COUPON_API_WORKERS="1", COUPON_PROXIES="127.0.0.1", **limits) as port:
        statuses = [get(port, "/api/coupons/987654321", "203.0.113.7").status for _ in range(3)]
        ended: list[str] = []

        def ask_as(address: str) -> int:
            status = get(port, "/api/coupons/987654321", address).status
            ended.append(address)
            return status

        with ThreadPoolExecutor(2) as pool:
            again = pool.submit(ask_as, "203.0.113.7")
            other = pool.submit(ask_as, "203.0.113.8")

    assert statuses == [404, 404, 429]
    assert (again.result(), other.result()) == (429, 404)
    assert ended == ["203.0.113.8", "203.0.113.7"]


def test_one_limit_without_the_other(running: System) -> None:
    """Where addresses are not limited, lookups and refusals are not either, and say nothing."""
    coupon, [user] = make_coupon(), make_users(1)
    with served(running, COUPON_LIMIT_USER_PER_MINUTE="1", COUPON_LIMIT_USER_BURST="1") as port:
        claims = [claim(port, coupon.pk, user, "") for _ in range(2)]
        others = [get(port, f"/api/coupons/{coupon.pk}", ""), claim(port, coupon.pk, "x", "")] * 20

    assert [answer.status for answer in claims] == [202, 429]
    assert [list(left(answer)) for answer in claims] == [["user"], ["user"]]
    assert {answer.status for answer in others} == {200, 400}
    assert not any("RateLimit" in answer.headers for answer in others)


def test_what_is_limited_is_counted(port: int, client: str) -> None:
    for _ in range(10):
        claim(port, 987_654_321, 987_654_321, client)

    def is_told() -> bool:
        text = get(port, "/actuator/prometheus", client).body
        return bool(
            re.search(r'coupon_limited_total\{by="(user|address)"\} [1-9]', text)
            and re.search(r'coupon_claims_total\{outcome="TOO_MANY_REQUESTS"\} [1-9]', text)
        )

    eventually(is_told)


def test_haste_is_one_of_an_events_reasons(port: int, client: str) -> None:
    """Each claim counts once in the event's figures, by what it was told: also a malformed one."""
    coupon, [user] = make_coupon(), make_users(1)
    answers = [claim(port, coupon.pk, each, client) for each in [*[user] * 5, *["x"] * 6]]

    def told() -> Counter[str]:
        found: Counter[str] = Counter()
        for text in SecondFigures.objects.filter(coupon_id=coupon.pk).values_list("figures", flat=True):
            found.update(json.loads(text).get("answers", {}))
        return found

    expected = Counter(answer.code or "ACCEPTED" for answer in answers)
    assert min(expected["TOO_MANY_REQUESTS"], expected["INVALID_REQUEST"], expected["ACCEPTED"]) > 0
    eventually(lambda: told() == expected, within_s=20, what=lambda: f"{told()}, not {expected}")


def test_nothing_is_said_where_no_limit_is_set(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    answers = [running.claim(coupon.pk, user) for _ in range(30)]

    assert {answer.status for answer in answers} == {202, 409}
    assert not any(name.lower().startswith("ratelimit") for answer in answers for name in answer.headers)
