"""Pages of other origins (COUPON_CORS_ORIGINS): what a browser is told, by whichever part of us answers."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse

import pytest

from dev.processes import LOOPBACK, Process
from tests.factories import make_coupon, make_users
from tests.system import System

SHOP, OTHER = "https://shop.example", "https://other.example:8443"
Headers = list[tuple[str, str]]
#: What a claim's page asks with.
_ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@contextmanager
def served(running: System, **env: str) -> Iterator[int]:
    server: Process = running.new_api(COUPON_API_WORKERS="1", **env)
    server.start()
    try:
        server.wait_ready()
        yield server.port
    finally:
        server.kill()


@pytest.fixture(scope="module")
def port(running: System) -> Iterator[int]:
    with served(running, COUPON_CORS_ORIGINS=f"{SHOP},{OTHER}") as port:
        yield port


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, Headers]:
    connection = HTTPConnection(LOOPBACK, port, timeout=15)
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        response.read()
        return response.status, response.getheaders()
    finally:
        connection.close()


def raw(port: int, data: bytes) -> tuple[int, Headers]:
    with socket.create_connection((LOOPBACK, port), timeout=15) as connection:
        connection.sendall(data)
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.getheaders()


def cors_lines(headers: Headers) -> dict[str, str]:
    """The lines for browsers. None may stand there twice: a browser refuses two."""
    lines = [(name.lower(), value) for name, value in headers if name.lower().startswith("access-control-")]
    assert len(lines) == len(dict(lines)), lines
    return dict(lines)


def varies_by(headers: Headers) -> set[str]:
    values = [value for name, value in headers if name.lower() == "vary"]
    return {each.strip().lower() for value in values for each in value.split(",")}


def paths() -> list[tuple[str, str]]:
    """A route of every part that answers, each in its good and its bad case."""
    coupon, [user] = make_coupon(), make_users(1)
    return [
        ("POST", f"/api/coupons/{coupon.pk}/issue?userId={user}"),
        ("POST", f"/api/coupons/{coupon.pk}/issue?userId=x"),
        ("POST", "/api/coupons/987654321/issue?userId=1"),
        ("POST", "/%61pi/coupons/1/issue?userId=1"),
        ("GET", f"/api/coupons/{coupon.pk}"),
        ("HEAD", f"/api/coupons/{coupon.pk}"),
        ("GET", "/api/coupons/987654321"),
        ("GET", f"/api/coupons/requests/{uuid.uuid4()}"),
        ("GET", f"/api/coupons/{coupon.pk}/queue-size"),
        ("GET", f"/api/coupons/users/{user}"),
        ("GET", "/api/nowhere"),
        ("PUT", f"/api/coupons/{coupon.pk}"),
        ("GET", "/api/schema"),
    ]


def test_every_answer_is_for_the_named_page_alone(port: int) -> None:
    for method, path in paths():
        _, told = ask(port, method, path, Origin=SHOP)
        _, hidden = ask(port, method, path, Origin="https://evil.example")
        _, plain = ask(port, method, path)

        assert cors_lines(told) == {
            "access-control-allow-origin": SHOP,
            "access-control-expose-headers": (
                "Location, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate"
            ),
        }, path
        assert cors_lines(hidden) == cors_lines(plain) == {}, path
        for headers in (told, hidden, plain):
            assert varies_by(headers) >= {"origin", "accept-language"}, path


def test_a_preflight_is_answered_alike_by_all(port: int) -> None:
    routes = ["/api/coupons/1/issue?userId=1", "/api/coupons/1", "/api/coupons/1/queue-size", "/api/nowhere"]

    answers = [ask(port, "OPTIONS", path, Origin=OTHER, **_ASKS) for path in routes]

    for status, headers in answers:
        assert status == 200
        assert "origin" in varies_by(headers)
        assert ("Content-Length", "0") in headers
        assert cors_lines(headers) == {
            "access-control-allow-origin": OTHER,
            "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
            "access-control-allow-headers": (
                "accept, accept-language, content-type, authorization, x-api-key, x-user-token"
            ),
            "access-control-expose-headers": (
                "Location, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate"
            ),
            "access-control-max-age": "7200",
        }
    assert cors_lines(ask(port, "OPTIONS", routes[0], Origin="https://evil.example", **_ASKS)[1]) == {}


@pytest.mark.parametrize(
    ("begins", "ends", "status"),
    [
        (b"POST /api/coupons/1/issue?userId=1 HTTP/1.1", b"Content-Length: 9999", 400),
        (b"POST /api/coupons/1/issue?userId=1 HTTP/1.1", b"Content-Length: 1\r\nContent-Length: 2", 400),
        (b"GET /api/coupons/1 HTTP/1.1", b"Expect: more", 417),
        (b"GET /api/coupons/1 HTTP/1.1", b"X: " + b"x" * 17_000, 431),
        (b"GET /api/coupons/1 HTTP/1.1", b"Host: b", 400),
        (b"GET /api/coupons/1 HTTP/3.7", b"", 400),
    ],
)
def test_a_refusal_of_what_cannot_be_read_is_for_the_page_too(
    port: int, begins: bytes, ends: bytes, status: int
) -> None:
    lines = [begins, b"Host: localhost", f"Origin: {SHOP}".encode(), ends]

    answered, headers = raw(port, b"\r\n".join([*filter(None, lines), b"", b""]))

    assert answered == status
    if begins.endswith(b"1.1"):  # else nothing behind the first line was read
        assert cors_lines(headers)["access-control-allow-origin"] == SHOP


def test_a_foreign_host_is_refused_for_the_page_too(port: int) -> None:
    status, headers = ask(port, "GET", "/api/coupons/1", Origin=SHOP, Host="elsewhere.example")

    assert status == 400
    assert cors_lines(headers)["access-control-allow-origin"] == SHOP


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://shop.example.evil",
        "https://evil-shop.example",
        "https://shop.example@evil",
        "http://shop.example",
        "https://shop.example:444",
        "https://[",
        "shop.example",
        "*",
        "https://" + "x" * 5000,
        "\u00e9\u00ff",
    ],
)
def test_what_only_resembles_an_origin_is_none(port: int, origin: str) -> None:
    for path in ("/api/coupons/987654321/issue?userId=1", "/api/coupons/987654321"):
        sent = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n".encode("latin1")
        status, headers = raw(port, sent)

        assert status in (404, 405)
        assert cors_lines(headers) == {}


@pytest.mark.parametrize("between", [b"\r\n", b"\n", b"\r", b"\0", b"\r\n "])
def test_an_origin_begins_no_line_of_an_answer(port: int, between: bytes) -> None:
    evil = SHOP.encode() + between + b"X-Injected: 1"
    _, headers = raw(port, b"GET /api/coupons/1 HTTP/1.1\r\nHost: localhost\r\nOrigin: " + evil + b"\r\n\r\n")

    assert "x-injected" not in {name.lower() for name, _ in headers}


def test_two_origins_are_none(port: int) -> None:
    lines = ["GET /api/coupons/1 HTTP/1.1", "Host: localhost", f"Origin: {SHOP}", f"Origin: {OTHER}"]
    _, headers = raw(port, "\r\n".join([*lines, "", ""]).encode())

    assert cors_lines(headers) == {}


def test_health_is_for_no_page(port: int) -> None:
    assert cors_lines(ask(port, "GET", "/actuator/health", Origin=SHOP)[1]) == {}


def test_credentials_are_a_setting(running: System) -> None:
    with served(running, COUPON_CORS_ORIGINS=SHOP, COUPON_CORS_CREDENTIALS="true") as port:
        for method, path in [("POST", "/api/coupons/1/issue?userId=x"), ("GET", "/api/coupons/987654321")]:
            lines = cors_lines(ask(port, method, path, Origin=SHOP)[1])
            assert lines["access-control-allow-credentials"] == "true"
            assert lines["access-control-allow-origin"] == SHOP


def test_all_origins_are_named_by_a_star(running: System) -> None:
    with served(running, COUPON_CORS_ORIGINS="*") as port:
        for method, path in [("POST", "/api/coupons/1/issue?userId=x"), ("GET", "/api/coupons/987654321")]:
            for origin in ("https://any.example", "null"):
                lines = cors_lines(ask(port, method, path, Origin=origin)[1])
                assert lines["access-control-allow-origin"] == "*"
                assert "access-control-allow-credentials" not in lines


def test_it_is_off_unless_an_origin_is_named(running: System) -> None:
    for method, path in paths():
        _, headers = ask(running.api.port, method, path, Origin=SHOP)

        assert cors_lines(headers) == {}
        assert "origin" not in varies_by(headers)
    assert ask(running.api.port, "OPTIONS", "/api/coupons/1/issue?userId=1", Origin=SHOP, **_ASKS)[0] == 200
