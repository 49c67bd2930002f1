"""The front of the claim route: what is a claim, whose it is, and what Django would have done for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import RequestFactory
from django.utils import translation
from rest_framework.response import Response

from coupons.api import front
from coupons.api.claims import LONGEST_BODY, ClaimView
from coupons.claim import Claim
from coupons.claims import batching
from coupons.claims.submitting import Accepted, Answer
from couponsite.doors import Doors
from runtime.http.reply import Reply
from runtime.http.request import Request
from tests.asking import Client, request_of


class Others:
    """Stands in for Django's pages."""

    def serve(self, request: Request) -> None:
        request.answer(Reply.of(200, b"others"))


def ask(target: str = "/api/coupons/7/issue?userId=8", *, method: str = "POST", **named: Any) -> Reply:
    client = Client()
    doors = Doors(lambda environ, start_response: [])
    doors.pages = Others()
    named.setdefault("headers", {}).setdefault("Host", "localhost:8080")
    doors.serve(request_of(client, method, target, **named))
    return client.reply


@pytest.fixture(autouse=True)
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Claim]:
    claims: list[Claim] = []

    def accept(claim: Claim, answer: Callable[[Answer | Exception], None]) -> None:
        claims.append(claim)
        answer(Accepted(request_id=claim.request_id))

    monkeypatch.setattr(batching, "submit", accept)
    return claims


def test_a_claim_is_answered_here(submitted: list[Claim]) -> None:
    reply = ask()

    assert reply.status == 202
    [claim] = submitted
    assert claim.holding == (7, 8)
    assert UUID(json.loads(reply.body)["requestId"]) == claim.request_id
    assert reply.headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(reply.body)),
        "Content-Language": "ko",
        "Vary": "Accept-Language",
        "X-Content-Type-Options": "nosniff",
        "Location": f"/api/coupons/requests/{claim.request_id}",
    }


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/coupons/7/issue"),
        ("POST", "/api/coupons/7"),
        ("POST", "/api/coupons/7/issue/"),
    ],
)
def test_everything_else_is_for_the_others(method: str, target: str, submitted: list[Claim]) -> None:
    assert ask(target, method=method).body == b"others"
    assert submitted == []


@pytest.mark.parametrize("coupon", ["0", "9223372036854775808", "99999999999999999999"])
def test_a_coupon_that_cannot_be_is_no_claim(coupon: str, submitted: list[Claim]) -> None:
    assert ask(f"/api/coupons/{coupon}/issue?userId=8").status in (200, 404)
    assert submitted == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "userId=",
        "userId=abc",
        "userId=0",
        "userId=-1",
        "userId=1&userId=2",
        "userId=9223372036854775808",
        "userId=" + "9" * 40,
        "userId=%EF%BC%91",
        "userId=1.0",
        "userid=1",
    ],
)
def test_a_user_id_that_is_none_is_refused(query: str, submitted: list[Claim]) -> None:
    reply = ask(f"/api/coupons/7/issue?{query}")

    assert reply.status == 400
    assert json.loads(reply.body)["code"] == "INVALID_REQUEST"
    assert submitted == []


@pytest.mark.parametrize("query", ["userId=8", "a=b&userId=8", "userId=%38", "userId=8&utm=x"])
def test_a_user_id_is_found_however_it_is_written(query: str, submitted: list[Claim]) -> None:
    ask(f"/api/coupons/7/issue?{query}")

    assert [claim.user_id for claim in submitted] == [8]


@pytest.mark.parametrize(
    ("header", "language"), [("en", "en"), ("en-US,en;q=0.9", "en"), ("ko", "ko"), ("fr", "ko"), ("", "ko")]
)
def test_the_language_is_the_clients(header: str, language: str) -> None:
    reply = ask(headers={"Accept-Language": header})

    assert reply.headers["Content-Language"] == language
    assert json.loads(reply.body)["message"].isascii() == (language == "en")


@pytest.mark.parametrize(
    "target",
    [
        "/api/coupons/7%2Fissue?userId=8",
        "/%61pi/coupons/7/issue?userId=8",
        "/api/coupons/%37/issue?userId=8",
        "/api/coupons/7/issu%65?userId=8",
        "/api/coupons/7/issue#x",
        "/api/coupons/7/issue?userId=8#x",
        "//elsewhere/api/coupons/7/issue?userId=8",
        "http://localhost/%61pi/coupons/7/issue?userId=8",
    ],
)
def test_a_path_that_is_spelt_otherwise_is_no_claim(target: str, submitted: list[Claim]) -> None:
    """A proxy that limits the rate of claims by their path does not know it."""
    reply = ask(target)

    assert reply.status == 404
    assert json.loads(reply.body)["code"] == "NOT_FOUND"
    assert submitted == []


def test_the_form_for_proxies_is_a_claim(submitted: list[Claim]) -> None:
    assert ask("http://localhost:8080/api/coupons/7/issue?userId=8").status == 202


def test_a_proxys_prefix_is_no_part_of_the_route() -> None:
    route = re.compile(front.route_below("/shop"))

    assert route.fullmatch(b"/shop/api/coupons/7/issue?userId=8")
    assert not route.fullmatch(b"/api/coupons/7/issue?userId=8")


@pytest.mark.parametrize("body", [b"userId=8", b'{"userId":8}', b"a=b&userId=8"])
@pytest.mark.parametrize(("language", "word"), [("ko", "쿼리"), ("en", "query string")])
def test_a_user_id_in_the_body_is_told_where_it_belongs(
    body: bytes, language: str, word: str, submitted: list[Claim]
) -> None:
    reply = ask("/api/coupons/7/issue", body=body, headers={"Accept-Language": language})

    assert reply.status == 400
    assert word in json.loads(reply.body)["message"]
    assert submitted == []


@pytest.mark.parametrize(("language", "word"), [("ko", "바이트"), ("en", "bytes")])
@pytest.mark.parametrize(("size", "is_too_long"), [(0, True), (LONGEST_BODY + 1, False)])
def test_a_large_body_is_refused_before_it_is_parsed(
    size: int,
    is_too_long: bool,
    language: str,
    word: str,
    submitted: list[Claim],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parsing it would stop the whole worker meanwhile."""
    parsed: list[bytes] = []
    monkeypatch.setattr("coupons.api.claims.json.loads", parsed.append)

    reply = ask(body=b"1" * size, is_too_long=is_too_long, headers={"Accept-Language": language})
    monkeypatch.undo()

    assert reply.status == 400
    told = json.loads(reply.body)
    assert told["code"] == "INVALID_REQUEST"
    assert word in told["message"]
    assert (parsed, submitted) == ([], [])


def test_a_small_body_is_none_of_our_business(submitted: list[Claim]) -> None:
    assert ask(body=json.dumps({"note": "x" * 4_000}).encode()).status == 202


def test_a_bug_is_told_without_its_trace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(claim: Claim, answer: Callable[[Answer | Exception], None]) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(batching, "submit", fail)

    reply = ask()

    assert reply.status == 500
    assert json.loads(reply.body)["code"] == "INTERNAL_ERROR"
    assert b"secret" not in reply.body
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("query", "status"), [("userId=8", 202), ("userId=0", 400)])
def test_the_documented_view_answers_the_same(query: str, status: int) -> None:
    """Where nobody goes ahead of Django's handler, as in Django's own test client."""
    with translation.override("en"):
        answer = ClaimView.as_view()(RequestFactory().generic("POST", f"/?{query}"), coupon_id=7)
        if isinstance(answer, Response):
            answer.render()
    reply = ask(f"/api/coupons/7/issue?{query}", headers={"Accept-Language": "en"})

    assert answer.status_code == status == reply.status
    assert json.loads(answer.content) | {"requestId": ""} == json.loads(reply.body) | {"requestId": ""}
