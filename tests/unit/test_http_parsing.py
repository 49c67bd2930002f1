"""What is a request, and what is refused: llhttp's strictness, which a release may change, and our rules."""

from __future__ import annotations

from typing import cast

import pytest

from runtime.http.connection import Connection
from runtime.http.parsing import LONGEST_HEAD, LONGEST_TARGET, MOST_FIELDS, Parser
from runtime.http.request import Request
from tests.asking import Client

_LONGEST_BODY = 10
_HOST = b"Host: localhost\r\n"
_GET = b"GET /a?b=c HTTP/1.1\r\n" + _HOST
_POST = b"POST /a HTTP/1.1\r\n" + _HOST


def parsed(data: bytes, *, at_once: int | None = None) -> Parser:
    parser = Parser(cast(Connection, Client()), lambda request: _LONGEST_BODY)
    for start in range(0, len(data), at_once or len(data)):
        if not parser.is_at_end:
            parser.feed(data[start : start + (at_once or len(data))])
    return parser


@pytest.mark.parametrize("at_once", [None, 1, 7])
def test_a_request_is_read_however_its_bytes_come(at_once: int | None) -> None:
    fields = b"Accept-Language: en\r\nX: 1\r\nx: 2\r\nX_Y: 3\r\nContent-Length: 3\r\n"

    [request] = parsed(_POST + fields + b"\r\nabc", at_once=at_once).requests

    assert (request.method, request.target, request.version) == ("POST", b"/a", "1.1")
    assert request.header(b"accept-language") == "en"
    assert request.header(b"x") == "1,2"
    assert request.header(b"x_y") is None  # WSGI could not tell it from X-Y
    assert (request.body, request.keeps, request.is_too_long) == (b"abc", True, False)


@pytest.mark.parametrize("at_once", [None, 1, 7])
def test_requests_behind_each_other_are_read_in_order(at_once: int | None) -> None:
    chunked = (
        b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nHost: t\r\n\r\n"
    )

    parser = parsed(_GET + b"\r\n" + chunked + _GET + b"\r\n", at_once=at_once)

    assert [(each.target, each.body) for each in parser.requests] == [
        (b"/a?b=c", b""),
        (b"/b", b"abc"),
        (b"/a?b=c", b""),
    ]
    assert parser.requests[1].header(b"host") is None  # a trailer is no header
    assert not parser.is_in_request


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_a_client_says_whether_its_connection_goes_on(head: bytes, keeps: bool) -> None:
    parser = parsed(head + b"\r\n" + _GET + b"\r\n")

    assert parser.requests[0].keeps is keeps
    assert len(parser.requests) == (2 if keeps else 1)  # what comes behind the last one is nobody's
    assert parser.refused is None


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_an_offer_of_another_protocol_is_declined(body: bytes) -> None:
    """Java's client offers HTTP/2 with its first request."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)

    parser = parsed(_POST + offer + length + body + _GET + b"\r\n")

    assert [(each.target, each.body) for each in parser.requests] == [(b"/a", body), (b"/a?b=c", b"")]


MALFORMED: dict[str, tuple[bytes, int]] = {
    "no method": (b"nothing\r\n\r\n", 400),
    "a method in small letters": (b"get / HTTP/1.1\r\n\r\n", 400),
    "an unknown method": (b"NOTHING / HTTP/1.1\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /a\r\n\r\n", 400),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "letters beyond ASCII in the target": (b"GET /a?u=\xef\xbc\x91 HTTP/1.1\r\n\r\n", 400),
    "a control character in the target": (b"GET /a\x01 HTTP/1.1\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "a space in a name": (_GET + b"No Name: 1\r\n\r\n", 400),
    "a space before the colon": (_GET + b"Name : 1\r\n\r\n", 400),
    "no name": (_GET + b": 1\r\n\r\n", 400),
    "no colon": (_GET + b"Name\r\n\r\n", 400),
    "a folded field": (_GET + b"Name: 1\r\n 2\r\n\r\n", 400),
    "a nul in a value": (_GET + b"Name: a\x00b\r\n\r\n", 400),
    "a carriage return in a value": (_GET + b"Name: a\rb\r\n\r\n", 400),
    "two hosts": (_GET + _HOST + b"\r\n", 400),
    "two content types": (_GET + b"Content-Type: a\r\nContent-Type: b\r\n\r\n", 400),
    "two proofs of identity": (_GET + b"Authorization: a\r\nAuthorization: b\r\n\r\n", 400),
    "a length below nothing": (_GET + b"Content-Length: -1\r\n\r\n", 400),
    "a length with a sign": (_GET + b"Content-Length: +1\r\n\r\na", 400),
    "no length": (_GET + b"Content-Length: \r\n\r\n", 400),
    "a length beyond all": (_GET + b"Content-Length: 18446744073709551617\r\n\r\n", 400),
    "two lengths": (_GET + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    "two lengths in one": (_GET + b"Content-Length: 1, 1\r\n\r\na", 400),
    "a length and a coding": (_GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a coding and a length": (_GET + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
    "an unknown coding": (_GET + b"Transfer-Encoding: nothing\r\n\r\n", 400),
    "a coding that looks like chunked": (_GET + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    "chunked twice": (_GET + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "two codings": (_GET + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a compressed body": (_GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk without a size": (_POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "a chunk beyond all": (_POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
    "a chunk longer than it says": (_POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
    "chunks with bare line feeds": (_POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400),
    "an unknown expectation": (_GET + b"Expect: nothing\r\n\r\n", 417),
    "a long target": (b"GET /" + b"a" * LONGEST_TARGET + b" HTTP/1.1\r\n\r\n", 414),
    "a long target without an end": (b"GET /" + b"a" * LONGEST_TARGET, 414),
    "many fields": (_GET + b"X: 1\r\n" * (MOST_FIELDS + 1) + b"\r\n", 431),
    "a long field": (_GET + b"X: " + b"a" * LONGEST_HEAD + b"\r\n\r\n", 431),
    "many trailers": (_POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 1\r\n" * 200 + b"\r\n", 431),
}


@pytest.mark.parametrize("at_once", [None, 1, 7])
@pytest.mark.parametrize("name", MALFORMED)
def test_what_cannot_be_read_is_refused_and_nothing_behind_it_is_read(name: str, at_once: int | None) -> None:
    data, status = MALFORMED[name]

    parser = parsed(data + _GET + b"\r\n", at_once=at_once)

    assert parser.refused == status
    assert parser.is_at_end
    assert list(parser.requests) == []


def test_a_field_without_an_end_is_refused_once_it_is_too_long() -> None:
    parser = parsed(_GET + b"X: ")

    for _ in range(LONGEST_HEAD // 1000 + 1):
        parser.feed(b"a" * 1000)

    assert parser.refused == 431


@pytest.mark.parametrize("at_once", [None, 1, 7])
@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 11\r\n\r\n" + b"a" * 11,
        b"Content-Length: 5000000000\r\n\r\n" + b"a" * 11,
        b"Transfer-Encoding: chunked\r\n\r\nb\r\n" + b"a" * 11 + b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 11,
    ],
    ids=range(4),
)
def test_a_body_that_is_too_long_is_cut_and_the_request_told_at_once(
    body: bytes, at_once: int | None
) -> None:
    parser = parsed(_POST + body + _GET, at_once=at_once)

    [request] = parser.requests
    assert request.is_too_long
    assert parser.is_at_end
    assert parser.refused is None


def test_a_body_of_the_longest_length_is_whole() -> None:
    [request] = parsed(_POST + b"Content-Length: 10\r\n\r\n" + b"a" * 10).requests

    assert (request.body, request.is_too_long) == (b"a" * 10, False)


@pytest.mark.parametrize(
    ("data", "is_asked"),
    [
        (_POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", True),
        (_POST + b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n", True),
        (_POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", False),
        (_POST + b"Expect: 100-continue\r\nContent-Length: 11\r\n\r\n", False),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", False),
    ],
    ids=range(5),
)
def test_a_client_that_waits_for_leave_to_send_its_body_is_known(data: bytes, is_asked: bool) -> None:
    assert parsed(data).is_asked_to_go_on is is_asked


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a?b=c", "/a", "b=c"),
        (b"/a#b?c", "/a", ""),
        (b"/a?b#c", "/a", "b"),
        (b"http://localhost:80/a?b", "/a", "b"),
        (b"http://localhost", "/", ""),
        (b"*", "*", ""),
        (b"//a/b", "//a/b", ""),
        (b"/%61", "/%61", ""),
    ],
)
def test_a_target_has_a_path_and_a_query(target: bytes, path: str, query: str) -> None:
    request = Request(cast(Connection, Client()), "GET", target, "1.1", {}, keeps=True)

    assert (request.path, request.query) == (path, query)
