"""Bytes to requests. httptools (llhttp) reads HTTP; what it leaves open is decided here.

llhttp refuses by itself: bare line feeds, folded fields, control characters, two lengths, a length beside a
transfer coding, spaces around names, malformed chunks. tests/unit/test_http_parsing.py has them all, because
its leniencies are options that a release may change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httptools

from runtime.http.request import Request

if TYPE_CHECKING:
    from runtime.http.connection import Connection

#: Bytes of a request's target. Shorter, and long but honest queries are refused; longer, and clients cost
#: memory.
LONGEST_TARGET: Final = 4094
#: Bytes and fields of a head. A browser's has 1 kB, and 8 with large cookies. Less, and such clients are
#: refused; more, and each of 10,000 connections may hold as much.
LONGEST_HEAD: Final = 16_384
MOST_FIELDS: Final = 100
#: Two of these would be read in one way here and in another by a proxy. llhttp looks at Content-Length.
_ONCE: Final = frozenset({b"host", b"content-type", b"transfer-encoding", b"authorization"})
_LINE_BYTES: Final = 4  #: of a field, beside its name and value


class _MalformedError(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        self.status: Final = status


class _CutError(Exception):
    """The request is delivered without the rest of its body."""


class Parser:
    """Reads one client's bytes, in the loop's hub.

    Results: ``requests``, in order; then ``refused``, the status for a client whose bytes cannot be read.
    After that, and after a request that is too long or the connection's last one, ``is_at_end``.
    """

    def __init__(self, connection: Connection, longest_body: Callable[[Request], int]) -> None:
        self.requests: deque[Request] = deque()
        self.refused: HTTPStatus | None = None
        self.is_at_end = False
        self.is_in_request = False  #: a part of a request came, and the rest did not
        self.is_asked_to_go_on = False  #: the client waits for "100 Continue" before it sends its body
        self._connection: Final = connection
        self._bound: Final = longest_body
        self._is_declining = False
        self._is_new = False  #: a request began in what came last
        self._fields = 0
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()
        self.is_in_request = False

    @property
    def longest_body(self) -> int:
        """Bytes that the body may have of the request that is being read; 0 before its head is read."""
        return self._most_bytes

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Of the request that is being read, or that could not be read: as many as came."""
        return self._headers

    def feed(self, data: bytes) -> None:
        """Read what came; ``requests`` and ``refused`` have the results."""
        fields_before, self._is_new = self._fields, False
        rest = data
        try:
            while rest and not self.is_at_end:
                rest = self._read(rest)
            if (
                self.is_in_request
                and self._request is None
                and not self._is_new
                and self._fields == fields_before
            ):
                self._count(len(data))  # all of it is a part of one line, which llhttp has not told us of
        except _MalformedError as error:
            self.refused = error.status
            self.is_at_end = True

    def _read(self, data: bytes) -> bytes:
        """Read as far as llhttp goes. Returns what comes after a request that asked for another protocol."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline()
            return data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, _CutError):
                return b""
            raise error.__context__ or error from None
        except httptools.HttpParserError:
            if not self.is_at_end:  # else: bytes behind a connection's last request
                raise _MalformedError(HTTPStatus.BAD_REQUEST) from None
        return b""

    def _decline(self) -> None:
        """Go on in HTTP/1.1 after an offer of another protocol, as Java's client makes when it begins.

        llhttp is at its end then and leaves the body unread: another parser reads it, behind a head of ours.
        """
        self._parser = httptools.HttpRequestParser(self)
        if self._request is not None and self.is_in_request:
            self._is_declining = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % _framing(self._request))
            self._is_declining = False
        self._is_new = False  #: a request began in what came last
        self._fields = 0

    # What httptools calls

    def on_message_begin(self) -> None:
        if self._is_declining:
            return
        self.is_in_request = self._is_new = True
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._fields = 0
        self._head_bytes = 0
        self._request: Request | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._most_bytes = 0

    def on_url(self, part: bytes) -> None:
        if self._is_declining:
            return
        self._target += part
        if len(self._target) > LONGEST_TARGET:
            raise _MalformedError(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_declining:
            return
        self._fields += 1
        self._count(len(name) + len(value) + _LINE_BYTES)
        if self._request is not None or b"_" in name:
            return  # a trailer; or a name that WSGI could not tell from another
        name = name.lower()
        if name in self._headers:
            if name in _ONCE:
                raise _MalformedError(HTTPStatus.BAD_REQUEST)
            value = self._headers[name] + b"," + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        if self._is_declining:
            return
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _MalformedError(HTTPStatus.BAD_REQUEST)
        self._request = request = Request(
            self._connection,
            parser.get_method().decode(),
            self._target,
            version,
            headers,
            keeps=parser.should_keep_alive(),
        )
        if b"content-length" in headers or b"transfer-encoding" in headers or b"expect" in headers:
            self._expect_body(request)

    def _expect_body(self, request: Request) -> None:
        coding = request.headers.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or request.version == "1.0"):
            raise _MalformedError(HTTPStatus.BAD_REQUEST)
        expectation = request.headers.get(b"expect", b"").lower()
        if expectation not in (b"", b"100-continue"):
            raise _MalformedError(HTTPStatus.EXPECTATION_FAILED)
        self._most_bytes = self._bound(request)
        if int(request.headers.get(b"content-length", b"0")) > self._most_bytes:
            self._cut(request)
        self.is_asked_to_go_on = bool(expectation) and request.version == "1.1"

    def on_body(self, part: bytes) -> None:
        assert self._request is not None
        self._body_bytes += len(part)
        if self._body_bytes > self._most_bytes:
            self._cut(self._request)
        self._body.append(part)

    def on_message_complete(self) -> None:
        assert self._request is not None
        if self._parser.should_upgrade() and _framing(self._request):
            return  # its body follows
        self._request.body = b"".join(self._body)
        self.requests.append(self._request)
        self.is_in_request = self.is_asked_to_go_on = False
        self.is_at_end = not self._request.keeps

    def _cut(self, request: Request) -> None:
        request.is_too_long = True
        self.requests.append(request)
        self.is_in_request = self.is_asked_to_go_on = False
        self.is_at_end = True
        raise _CutError

    def _count(self, head_bytes: int) -> None:
        self._head_bytes += head_bytes
        if self._head_bytes > LONGEST_HEAD or self._fields > MOST_FIELDS:
            raise _MalformedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


def _framing(request: Request) -> bytes:
    """The header line that tells where the request's body ends; empty if it has none."""
    if b"transfer-encoding" in request.headers:
        return b"Transfer-Encoding: chunked"
    length = int(request.headers.get(b"content-length", b"0"))
    return b"Content-Length: %d" % length if length else b""
