"""The front of the claim route: what is a claim, whose it is, and what Django would have done for it."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import gevent
import pytest
from django.test import RequestFactory
from django.utils import translation
from rest_framework.response import Response

from coupons.api.claims import ClaimView
from coupons.api.front import ClaimsFirst
from coupons.claim import Claim
from coupons.claims import batching
from coupons.claims.submitting import Accepted

Environ = dict[str, Any]


class Heard:
    """What the client hears."""

    status = ""
    headers: dict[str, str]

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, dict(headers)


def others(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("299 Others", [])
    return [b"others"]


def _body(stream: object) -> dict[str, Any]:
    return {"wsgi.input": stream}


def ask(
    path: str = "/api/coupons/7/issue", query: str = "userId=8", *, method: str = "POST", **environ: Any
) -> tuple[Heard, bytes]:
    heard = Heard()
    asked = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "RAW_URI": f"{path}?{query}",
        "HTTP_HOST": "localhost:8080",
        "wsgi.input": io.BytesIO(),
    }
    body = b"".join(ClaimsFirst(others)(asked | environ, heard.start))
    return heard, body


@pytest.fixture(autouse=True)
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Claim]:
    claims: list[Claim] = []

    def accept(claim: Claim) -> Accepted:
        claims.append(claim)
        return Accepted(request_id=claim.request_id)

    monkeypatch.setattr(batching, "submit", accept)
    return claims


def test_a_claim_is_answered_here(submitted: list[Claim]) -> None:
    heard, body = ask()

    assert heard.status == "202 Accepted"
    [claim] = submitted
    assert claim.holding == (7, 8)
    told = json.loads(body)
    assert UUID(told["requestId"]) == claim.request_id
    assert heard.headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Content-Language": "ko",
        "Vary": "Accept-Language",
        "X-Content-Type-Options": "nosniff",
        "Location": f"/api/coupons/requests/{claim.request_id}",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/coupons/7/issue"),
        ("POST", "/api/coupons/7"),
        ("POST", "/api/coupons/0/issue"),
        ("POST", "/api/coupons/9223372036854775808/issue"),
        ("POST", "/api/coupons/7/issue/"),
        ("POST", "/api/coupons/７/issue"),
        ("POST", "/api/coupons/7/issue\n"),
    ],
)
def test_everything_else_is_for_the_others(method: str, path: str, submitted: list[Claim]) -> None:
    heard, body = ask(path, method=method)

    assert (heard.status, body, submitted) == ("299 Others", b"others", [])


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
    heard, body = ask(query=query)

    assert heard.status == "400 Bad Request"
    assert json.loads(body)["code"] == "INVALID_REQUEST"
    assert submitted == []


@pytest.mark.parametrize("query", ["userId=8", "a=b&userId=8", "userId=%38", "userId=8&utm=x"])
def test_a_user_id_is_found_however_it_is_written(query: str, submitted: list[Claim]) -> None:
    ask(query=query)

    assert [claim.user_id for claim in submitted] == [8]


@pytest.mark.parametrize(
    ("header", "language"), [("en", "en"), ("en-US,en;q=0.9", "en"), ("ko", "ko"), ("fr", "ko"), ("", "ko")]
)
def test_the_language_is_the_clients(header: str, language: str) -> None:
    heard, body = ask(HTTP_ACCEPT_LANGUAGE=header)

    assert heard.headers["Content-Language"] == language
    assert json.loads(body)["message"].isascii() == (language == "en")


@pytest.mark.parametrize(
    "raw",
    [
        "/api/coupons/7%2Fissue?userId=8",
        "/%61pi/coupons/7/issue?userId=8",
        "/api/coupons/%37/issue?userId=8",
        "/api/coupons/7/issu%65",
        "/api/coupons/7/issue#x",
        "//elsewhere/api/coupons/7/issue",
        "http://localhost/%61pi/coupons/7/issue?userId=8",
    ],
)
def test_a_path_that_is_spelt_otherwise_is_no_claim(raw: str, submitted: list[Claim]) -> None:
    """A proxy that limits the rate of claims by their path does not know it."""
    heard, body = ask(RAW_URI=raw)

    assert heard.status == "404 Not Found"
    assert json.loads(body)["code"] == "NOT_FOUND"
    assert submitted == []


@pytest.mark.parametrize(
    ("raw", "prefix"),
    [("http://localhost:8080/api/coupons/7/issue?userId=8", ""), ("/shop/api/coupons/7/issue", "/shop")],
)
def test_a_proxys_way_to_name_it_is_a_claim(raw: str, prefix: str, submitted: list[Claim]) -> None:
    heard, _ = ask(RAW_URI=raw, SCRIPT_NAME=prefix)

    assert heard.status == "202 Accepted"


@pytest.mark.parametrize("body", [b"userId=8", b'{"userId":8}', b"a=b&userId=8"])
@pytest.mark.parametrize(("language", "word"), [("ko", "쿼리"), ("en", "query string")])
def test_a_user_id_in_the_body_is_told_where_it_belongs(
    body: bytes, language: str, word: str, submitted: list[Claim]
) -> None:
    heard, answer = ask(
        query="",
        CONTENT_LENGTH=str(len(body)),
        HTTP_ACCEPT_LANGUAGE=language,
        **_body(io.BytesIO(body)),
    )

    assert heard.status == "400 Bad Request"
    assert word in json.loads(answer)["message"]
    assert submitted == []


@pytest.mark.parametrize(("language", "word"), [("ko", "바이트"), ("en", "bytes")])
@pytest.mark.parametrize("size", [5_000, 2_000_000, 3_000_000])
def test_a_large_body_is_refused_before_it_is_parsed(
    size: int, language: str, word: str, submitted: list[Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsing it would stop the whole worker meanwhile."""
    body = b'"' + b"x" * (size - 2) + b'"'
    parsed: list[bytes] = []
    monkeypatch.setattr("coupons.api.claims.json.loads", parsed.append)

    heard, answer = ask(CONTENT_LENGTH=str(size), HTTP_ACCEPT_LANGUAGE=language, **_body(io.BytesIO(body)))
    monkeypatch.undo()

    assert heard.status == "400 Bad Request"
    told = json.loads(answer)
    assert told["code"] == "INVALID_REQUEST"
    assert word in told["message"]
    assert (parsed, submitted) == ([], [])


def test_a_small_body_is_none_of_our_business(submitted: list[Claim]) -> None:
    body = json.dumps({"note": "x" * 4_000}).encode()

    heard, _ = ask(CONTENT_LENGTH=str(len(body)), **_body(io.BytesIO(body)))

    assert heard.status == "202 Accepted"


@pytest.mark.parametrize("body", [b"", b'"1234', b"{}"])
def test_a_body_shorter_than_was_said_is_no_claim(body: bytes, submitted: list[Claim]) -> None:
    """Its client has hung up in the middle."""
    with pytest.raises(OSError, match="before its end") as raised:
        ask(CONTENT_LENGTH="20", **_body(io.BytesIO(body)))

    assert raised.value.errno == errno.ENOTCONN
    assert submitted == []


def test_a_body_larger_than_django_reads_is_refused_when_it_is_read(submitted: list[Claim]) -> None:
    stream = io.BytesIO(b'"' + b"x" * 4_999_998 + b'"')

    heard, _ = ask(CONTENT_LENGTH="5000000", **_body(stream))

    assert heard.status == "400 Bad Request"
    assert stream.read() == b""  # the client can hear the answer: nobody stops listening to it
    assert submitted == []


def test_a_client_that_stops_in_the_middle_of_its_body_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch, submitted: list[Claim]
) -> None:
    monkeypatch.setattr("runtime.request_body.PATIENCE_S", 0.01)

    class Silent(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            gevent.sleep(5)
            return b""

    with pytest.raises(OSError, match="did not come") as raised:
        ask(CONTENT_LENGTH="10", **_body(Silent()))

    assert raised.value.errno == errno.ENOTCONN
    assert submitted == []


def test_a_bug_is_told_without_its_trace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(claim: Claim) -> Accepted:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(batching, "submit", fail)

    heard, body = ask()

    assert heard.status == "500 Internal Server Error"
    assert json.loads(body)["code"] == "INTERNAL_ERROR"
    assert b"secret" not in body
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("query", "status"), [("userId=8", 202), ("userId=0", 400)])
def test_the_documented_view_answers_the_same(query: str, status: int) -> None:
    """Where nobody goes ahead of Django's handler, as in Django's own test client."""
    with translation.override("en"):
        answer = ClaimView.as_view()(RequestFactory().generic("POST", f"/?{query}"), coupon_id=7)
        if isinstance(answer, Response):
            answer.render()
    heard, body = ask(query=query, HTTP_ACCEPT_LANGUAGE="en")

    assert answer.status_code == status == int(heard.status[:3])
    assert json.loads(answer.content) | {"requestId": ""} == json.loads(body) | {"requestId": ""}
