"""Every route, every method, odd headers and bodies: a client's input is never a 5xx, and never a claim."""

from __future__ import annotations

import json
import socket

import pytest

from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, System, ask, eventually

ROUTES = [
    "/api/coupons/1",
    "/api/coupons/1/issue",
    "/api/coupons/1/issue?userId=1",
    "/api/coupons/1/queue-size",
    "/api/coupons/requests/3f2504e0-4f89-41d3-9a0c-0305e82c3399",
    "/api/coupons/users/1",
    "/api/schema",
    "/api/docs",
    "/api/nothing",
    "/actuator",
    "/actuator/health",
    "/actuator/health/liveness",
    "/actuator/health/readiness",
    "/actuator/info",
    "/actuator/prometheus",
    "/actuator/nothing",
    "/admin/",
    "/admin/login/",
    "/admin/coupons/coupon/",
    "/static/admin/css/base.css",
    "/",
    "*",
]
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "NOTHING",
]
HEADERS: list[dict[str, str]] = [
    {},
    {"Accept": "text/html"},
    {"Accept": "application/xml;q=0.1", "Accept-Language": "xx-YY;q=9,*", "Accept-Encoding": "nothing"},
    {"Accept": "x" * 200, "Content-Type": "multipart/form-data"},
    {"Content-Type": "application/json; charset=nothing", "Cookie": "sessionid=;;=", "Range": "bytes=9-1"},
    {"Content-Type": "x" * 100, "Authorization": "Basic \xff", "X-HTTP-Method-Override": "POST"},
    {"If-Modified-Since": "yesterday", "If-None-Match": '"', "Origin": "null", "Referer": "::"},
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("headers", HEADERS, ids=range(len(HEADERS)))
def test_no_route_answers_5xx(running: System, method: str, headers: dict[str, str]) -> None:
    told = {}
    for path in ROUTES:
        for body in (None, b"{}", b"\xff\x00=&"):
            answer = ask(running.api.port, method, path, body=body, headers=headers)
            told[path, body] = answer.status
            if path.startswith(("/api", "/actuator")) and answer.status >= 400 and method != "HEAD":
                check_refusal(answer)

    assert {what: status for what, status in told.items() if not 200 <= status < 500} == {}


def check_refusal(answer: HttpAnswer) -> None:
    assert isinstance(answer.body, dict), answer
    assert set(answer.body) == {"success", "code", "message", "requestId"}


@pytest.mark.parametrize("path", ["/api/docs", "/api/schema", "/api/coupons/1", "/api/coupons/1/issue"])
def test_options_tells_the_methods(running: System, path: str) -> None:
    answer = ask(running.api.port, "OPTIONS", path)

    assert answer.status == 200
    assert "OPTIONS" in answer.headers["Allow"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_documents_refuse_in_our_form(running: System, method: str) -> None:
    answer = ask(running.api.port, method, "/api/docs")

    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/api/docs", "/api/coupons/1", "/actuator/health", "/actuator/prometheus"])
@pytest.mark.parametrize(("language", "word"), [("ko", "메서드"), ("en", "method")])
def test_a_method_is_refused_in_the_clients_language(
    running: System, path: str, language: str, word: str
) -> None:
    answer = ask(running.api.port, "DELETE", path, headers={"Accept-Language": language})

    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")
    assert word in answer.body["message"]
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("host", ["elsewhere.example", "10.1.2.3:8080", "coupon_api", "\xff", ""])
@pytest.mark.parametrize("role", ["api", "consumer"])
def test_health_answers_whatever_the_host_is(running: System, role: str, host: str) -> None:
    port = running.api.port if role == "api" else running.consumers[0].port

    for path in ("/health", "/health/liveness", "/health/readiness", "/info", "/prometheus"):
        assert ask(port, "GET", f"/actuator{path}", headers={"Host": host}).status == 200


def sent(port: int, request: bytes, *, ends: bool = True) -> bytes:
    """What comes back until the server closes. ``ends``: our side says that nothing more comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def has_no_claim(running: System, coupon_id: int, user_id: int) -> bool:
    """Whether the user, who did not claim, still may: a request under way or decided would refuse them."""
    return running.claim(coupon_id, user_id).status == 202


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 20\r\n\r\n",
        b'Content-Length: 20\r\n\r\n{"a":',
        b"Content-Length: 4\r\n\r\n{}",
        b"Content-Length: 5000000\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n9\r\n{}",
    ],
)
def test_a_body_that_ends_too_early_is_no_claim(running: System, body: bytes) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    head = f"POST /api/coupons/{coupon.pk}/issue?userId={user} HTTP/1.1\r\nHost: localhost\r\n"

    received = sent(running.api.port, head.encode() + body)

    assert received == b"" or received.startswith(b"HTTP/1.1 4"), received
    assert has_no_claim(running, coupon.pk, user)


@pytest.mark.parametrize(
    "path",
    [
        "/api/coupons/{}%2Fissue",
        "/%61pi/coupons/{}/issue",
        "/api/%63oupons/{}/issue",
        "/api/coupons/{}/%69ssue",
        "/api/coupons/{}/issue%3F",
        "//api/coupons/{}/issue",
        "/api/../api/coupons/{}/issue",
        "/api/coupons/{}/issue#",
    ],
)
def test_a_path_that_is_spelt_otherwise_is_no_claim(running: System, path: str) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    request = f"POST {path.format(coupon.pk)}?userId={user} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = sent(running.api.port, request.encode())

    assert received.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), received
    assert has_no_claim(running, coupon.pk, user)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"userId=1", "application/x-www-form-urlencoded"), (b'{"userId": 1}', "application/json")],
)
def test_a_user_id_in_the_body_is_told_where_it_belongs(
    running: System, body: bytes, content_type: str
) -> None:
    path = f"/api/coupons/{make_coupon().pk}/issue"
    headers = {"Content-Type": content_type}

    korean = ask(running.api.port, "POST", path, body=body, headers=headers)
    english = ask(running.api.port, "POST", path, body=body, headers=headers | {"Accept-Language": "en"})

    assert (korean.status, korean.code) == (english.status, english.code) == (400, "INVALID_REQUEST")
    assert "쿼리 문자열" in korean.body["message"]
    assert "query string" in english.body["message"]


def test_http_1_0_without_a_host_asks_the_address_it_came_to(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    claim = sent(
        running.api.port, b"POST /api/coupons/%d/issue?userId=%d HTTP/1.0\r\n\r\n" % (coupon.pk, user)
    )
    page = sent(running.api.port, b"GET /api/coupons/%d HTTP/1.0\r\n\r\n" % coupon.pk)

    assert claim.startswith((b"HTTP/1.0 202", b"HTTP/1.1 202"))
    assert page.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))


def test_a_refused_host_is_told_the_setting_and_logged_seldom(running: System) -> None:
    before = len(running.log_text("core"))

    for number in range(20):
        for path in ("/api/coupons/1", "/admin/"):
            answer = ask(running.api.port, "GET", path, headers={"Host": f"host{number}.example"})
            assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
            assert "ALLOWED_HOSTS" in answer.body["message"]

    lines = [line for line in running.log_text("core")[before:].splitlines() if "ALLOWED_HOSTS" in line]
    assert len(lines) <= 2  # one of each worker; none if it has said so a moment ago
    assert "Traceback" not in running.log_text("core")[before:]


def test_an_underscore_is_a_name_where_all_are_allowed(running: System) -> None:
    server = running.new_api(ALLOWED_HOSTS="*", COUPON_API_WORKERS="1")
    server.start()
    try:
        server.wait_ready()
        for path in ("/api/coupons/1", "/admin/login/"):
            assert ask(server.port, "GET", path, headers={"Host": "coupon_api:8080"}).status in (200, 404)
        login = ask(
            server.port,
            "POST",
            "/api/coupons/1/issue?userId=1",
            headers={"Host": "coupon_api"},
        )
        assert login.status == 404  # no such coupon: it was asked
    finally:
        assert server.stop() == 0
    eventually(lambda: server.process.poll() is not None)


_HOST = b"Host: localhost\r\n"
_GET = b"GET /api/coupons/1 HTTP/1.1\r\n" + _HOST


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nothing\r\n\r\n", 400),
        (b"GET /api/coupons/1\r\n\r\n", 400),
        (b"GET /api/coupons/1 HTTP/9.9\r\n" + _HOST + b"\r\n", 400),
        (b"GET /api/coupons/1?userId=\xef\xbc\x91 HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
        (_GET + b"No Name: 1\r\n\r\n", 400),
        (_GET + b"Content-Length: -1\r\n\r\n", 400),
        (_GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (_GET + b"Transfer-Encoding: nothing\r\n\r\n", 400),
        (_GET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n", 414),
        (_GET + b"Expect: nothing\r\n\r\n", 417),
        (_GET + b"X: 1\r\n" * 200 + b"\r\n", 431),
    ],
    ids=range(12),
)
def test_what_cannot_be_read_is_refused_in_json_as_the_clients_mistake(
    running: System, request_bytes: bytes, status: int
) -> None:
    head, _, body = sent(running.api.port, request_bytes).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close" in head
    refusal = json.loads(body)
    assert refusal == {
        "success": False,
        "code": "INVALID_REQUEST",
        "message": refusal["message"],
        "requestId": "",
    }


@pytest.mark.parametrize("path", ["/api/coupons/1", "/api/nothing", "/admin/login/", "/api/docs"])
def test_a_head_request_fills_no_log(running: System, path: str) -> None:
    """gunicorn warns of each body that it must not send."""
    before = running.api.output().count("no-body response")

    assert ask(running.api.port, "HEAD", path).status in (200, 404)

    assert running.api.output().count("no-body response") == before
