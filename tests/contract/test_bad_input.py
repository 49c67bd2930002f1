"""Bad input has its clear refusal: never a 500, never a trace."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

import pytest

from coupons.models import IssueOutcome
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, System, ask, eventually


def check(answer: HttpAnswer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer
    assert set(answer.body) == {"success", "code", "message", "requestId"}
    assert "Traceback" not in str(answer.body)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?userId",
        "?userId=",
        "?userid=1",
        "?userId=abc",
        "?userId=0",
        "?userId=-1",
        "?userId=%2B1",
        "?userId=1.5",
        "?userId=1.0",
        "?userId=1e3",
        "?userId=0x1",
        "?userId=1_000",
        "?userId=%201",
        "?userId=1%0A",
        "?userId=1%00",
        "?userId=9223372036854775808",
        "?userId=99999999999999999999",
        "?userId=" + "9" * 2000,
        "?userId=1&userId=2",
        "?userId=1&userId=1",
        "?userId=%EF%BC%91",  # a full-width 1
        "?userId=%D9%A1",  # an Arabic 1
        "?userId=%C2%B2",  # a superscript 2
        "?userId=%FF%FE",
        "?userId=%F0%9F%8E%AB",
        "?userId[]=1",
        "?userId=null",
        "?userId=true",
        "?userId=1%27%20OR%201=1",
    ],
)
def test_a_user_id_that_is_none_is_an_invalid_request(running: System, query: str) -> None:
    coupon = make_coupon()

    answer = ask(running.api.port, "POST", f"/api/coupons/{coupon.pk}/issue{query}")

    check(answer, 400, "INVALID_REQUEST")
    assert "userId" in answer.body["message"]


def test_the_largest_user_id_is_one(running: System) -> None:
    answer = running.claim(make_coupon().pk, 2**63 - 1)

    check(answer, 404, "USER_NOT_FOUND")


def test_other_parameters_and_leading_zeros_do_no_harm(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    assert running.claim(coupon.pk, f"00{user}&couponId=99&x=%00").status == 202


BAD_IDS = [
    "abc",
    "0",
    "-1",
    "1.5",
    "9223372036854775808",
    "99999999999999999999",
    "%EF%BC%91",
    "%00",
    "%FF",
    "1%2F2",
    "..",
    "%2e%2e",
    "1;x",
    "9" * 3000,
]


@pytest.mark.parametrize("wrong", BAD_IDS)
def test_a_path_id_that_is_none_is_not_found(running: System, wrong: str) -> None:
    for path in (
        f"/api/coupons/{wrong}",
        f"/api/coupons/{wrong}/issue?userId=1",
        f"/api/coupons/{wrong}/queue-size",
        f"/api/coupons/users/{wrong}",
    ):
        check(running.get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "wrong",
    [
        "abc",
        "1",
        "3f2504e04f8941d39a0c0305e82c3301",
        "{3f2504e0-4f89-41d3-9a0c-0305e82c3301}",
        "3f2504e0-4f89-41d3-9a0c-0305e82c330",
        "3f2504e0-4f89-41d3-9a0c-0305e82c330g",
        "%00",
    ],
)
def test_a_request_id_that_is_none_is_not_found(running: System, wrong: str) -> None:
    check(running.status(wrong), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/",
        "/api/coupons",
        "/api/coupons/",
        "/api/coupons/1/",
        "/api/coupons/1/issue/",
        "/api/coupons/1/nothing",
        "/API/coupons/1",
        "/api//coupons/1",
        "/actuator",
        "/actuator/env",
        "/.env",
    ],
)
def test_an_address_with_nothing_is_not_found(running: System, path: str) -> None:
    check(running.get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [b"{", b"userId=1", b"\xff\xfe", b"<xml/>", b"[" * 100_000, b'{"a":' * 50_000, b"\x00", b" ", b"nul"],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_a_body_that_is_no_json_is_an_invalid_request(
    running: System, body: bytes, content_type: str
) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    answer = ask(
        running.api.port,
        "POST",
        f"/api/coupons/{coupon.pk}/issue?userId={user}",
        body=body,
        headers={"Content-Type": content_type},
    )

    check(answer, 400, "INVALID_REQUEST")
    assert not IssueOutcome.objects.filter(user_id=user).exists()


def raw(port: int, request: bytes) -> bytes:
    """Send these bytes and read what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        # A server that has heard enough closes its side: what it said is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_a_body_of_five_megabytes_is_an_invalid_request(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    head = (
        f"POST /api/coupons/{coupon.pk}/issue?userId={user} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 5000000\r\nConnection: close\r\n\r\n"
    )

    received = raw(running.api.port, head.encode() + b'"' + b"x" * 4_999_998 + b'"')

    assert received.startswith(b"HTTP/1.1 400")
    assert b'"code":"INVALID_REQUEST"' in received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/coupons/1/issue?userId=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
        b"POST /api/coupons/1/issue?userId=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /api/coupons/1 HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"GET /api/coupons/\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /api/coupons/1 HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n",
        b"GET /api/coupons/1 HTTP/1.1\r\nHost: \x00\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_request_that_is_no_http_is_a_client_error(running: System, request_bytes: bytes) -> None:
    received = raw(running.api.port, request_bytes)

    assert received.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 505")), received
    assert b"Traceback" not in received


def test_a_foreign_host_is_refused_in_our_form(running: System) -> None:
    answer = ask(running.api.port, "GET", "/api/coupons/1", headers={"Host": "elsewhere.example"})

    check(answer, 400, "INVALID_REQUEST")


def test_head_is_get_without_the_body(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    for path in (
        f"/api/coupons/{coupon.pk}",
        f"/api/coupons/users/{user}",
        "/actuator/health",
        "/api/schema",
    ):
        answer = ask(running.api.port, "HEAD", path)
        assert (answer.status, answer.body) == (200, "")


def lengths_of_logs(running: System) -> tuple[int, int]:
    """Once nothing more comes: a line may be written after its answer was sent."""
    seen: list[tuple[int, int]] = []

    def is_still() -> bool:
        time.sleep(0.5)
        seen.append((len(running.log_text("core")), len(running.api.output())))
        return len(seen) > 1 and seen[-1] == seen[-2]

    eventually(is_still)
    return seen[-1]


def test_refusals_are_answers_and_no_incidents_in_the_log(running: System) -> None:
    before = lengths_of_logs(running)

    running.claim(make_coupon().pk, "abc")
    running.claim(make_coupon(stock=0).pk, make_users(1)[0])
    running.get("/nothing")
    ask(running.api.port, "DELETE", "/api/coupons/1")
    lengths_of_logs(running)

    assert not re.search("WARN|ERROR|Traceback", running.log_text("core")[before[0] :])
    assert running.api.output()[before[1] :] == ""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/coupons/abc/issue?userId=1"),
        ("POST", "/api/coupons/0/issue?userId=1"),
        ("POST", "/api/coupons/99999999999999999999/issue?userId=1"),
        ("POST", "/api/coupons/1/issue/?userId=1"),
        ("DELETE", "/api/coupons/requests/x"),
        ("PUT", "/api/nothing"),
    ],
)
def test_a_bad_path_is_not_found_whatever_the_method(running: System, method: str, path: str) -> None:
    answer = ask(running.api.port, method, path)

    assert (answer.status, answer.code) == (404, "NOT_FOUND")


def test_the_actuator_is_read_only(running: System) -> None:
    assert ask(running.api.port, "POST", "/actuator/health").status == 405
