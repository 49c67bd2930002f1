"""A WSGI application in native threads, beside the loop: Django's pages.

The application may block its thread; it must not touch greenlets or the connection. An answer of up to
_WHOLE bytes is handed to the loop whole; a larger one part by part, each when the client has taken the one
before, so that a million rows need no memory. Meanwhile its thread waits for the client.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import gevent
from gevent.threadpool import ThreadPool

from runtime.http.reply import Reply, fields_of
from runtime.http.request import Request

log = logging.getLogger(__name__)

Environ = dict[str, Any]
StartResponse = Any  # Django's stubs and PEP 3333 spell it differently
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

#: Bytes. Less, and public files (Swagger's has 1.6 MB) are handed over in parts, each of which keeps a thread
#: until a slow client has taken it; more, and each page thread may hold as much.
_WHOLE: Final = 2_097_152
_PART: Final = 65_536  #: bytes that are handed over at once: fewer cost more handovers
#: The loop gives up a client that takes nothing for 30 s, and tells us; longer than that, and it is stuck.
_LOOP_PATIENCE_S: Final = 60.0
_WITHOUT_LENGTH: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"})


class ClientGoneError(Exception):
    """The client does not take the rest of its answer."""


class Pages:
    """Answers requests by a WSGI application, in ``threads`` threads. Made and called in the loop.

    ``refusal``: the answer where the application raises, which Django never does.
    """

    def __init__(
        self,
        application: WsgiApplication,
        *,
        threads: int,
        refusal: Callable[[int, Mapping[bytes, bytes]], Reply],
    ) -> None:
        self._application = application
        self._refusal = refusal
        # gevent's pool has its caller wait while all its threads are busy, and a caller in the hub cannot: it
        # raises. So requests wait here, and never more are in the pool than it takes at once.
        self._threads = ThreadPool(threads)
        self._free = threads
        self._waiting: deque[Request] = deque()  # bounded: a connection has one request at a time
        self._loop = gevent.get_hub().loop

    def serve(self, request: Request) -> None:
        """In the loop's hub. Requests are served in their order, so many at once as there are threads."""
        self._waiting.append(request)
        self._serve_next()

    def _serve_next(self) -> None:
        while self._free and self._waiting:
            request = self._waiting.popleft()
            if not request.connection.is_open:  # its client has gone while it waited
                continue
            self._free -= 1
            # Not `apply`: no greenlet waits for the thread, which hands its answer to the loop by itself. The
            # link is called once the pool has its place back; what the task tells the loop comes before.
            self._threads.spawn(self._answer, request).rawlink(self._one_is_free)

    def _one_is_free(self, _: object) -> None:
        """In the loop's hub."""
        self._free += 1
        self._serve_next()

    def _answer(self, request: Request) -> None:
        """In a thread of the pool."""
        answer = _Answer(request, self._loop.run_callback_threadsafe)
        try:
            answer.run(self._application)
        except ClientGoneError:
            log.debug("%s is gone", request.connection.peer)
        except Exception:
            log.exception("%s %r cannot be answered", request.method, request.target)
            refusal = self._refusal(HTTPStatus.INTERNAL_SERVER_ERROR, request.headers)
            self._loop.run_callback_threadsafe(answer.fail, refusal)


class _Answer:
    """One answer on its way from the application's thread to the loop."""

    def __init__(self, request: Request, in_loop: Callable[..., None]) -> None:
        self._request = request
        self._in_loop = in_loop
        self._status = HTTPStatus.INTERNAL_SERVER_ERROR
        self._headers: list[tuple[str, str]] = []
        self._is_begun = False  #: the client has the head
        self._is_chunked = False

    def run(self, application: WsgiApplication) -> None:
        chunks = application(environ_of(self._request), self._start_response)
        try:
            body = self._body(() if self._request.method == "HEAD" else chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()  # Django ends its request then, and gives its database connection back
        if self._is_begun:
            self._send(body, is_last=True)
        else:
            self._in_loop(self._request.answer, self._whole(body))

    def fail(self, refusal: Reply) -> None:
        """In the loop. A client that has a part of its answer sees its connection end instead."""
        if self._is_begun:
            self._request.connection.close()
        else:
            self._request.answer(refusal)

    def _body(self, chunks: Iterable[bytes]) -> bytes:
        """Send what is more than the answer's last part, which is returned."""
        parts = bytearray()
        for chunk in chunks:
            parts += chunk
            if len(parts) > (_PART if self._is_begun else _WHOLE):
                self._send(bytes(parts))
                parts.clear()
        return bytes(parts)

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        self._status = HTTPStatus(int(status[:3]))
        self._headers = [each for each in headers if each[0].lower() not in _HOP_BY_HOP]

    def _has_length(self) -> bool:
        return any(name.lower() == "content-length" for name, _ in self._headers)

    def _whole(self, body: bytes) -> Reply:
        if self._has_length() or self._status in _WITHOUT_LENGTH or self._request.method == "HEAD":
            return Reply(self._status, fields_of(self._headers), body)
        return Reply.of(self._status, body, self._headers)

    def _send(self, part: bytes, *, is_last: bool = False) -> None:
        """Send a part, and wait in this thread until the client has taken it. Raises ClientGoneError."""
        data = self._framed(part, is_last=is_last)
        answered, taken = threading.Event(), []

        def then(is_taken: bool) -> None:
            taken.append(is_taken)
            answered.set()

        connection = self._request.connection
        self._in_loop(lambda: connection.write_part(self._request, data, then, is_last=is_last))
        if not answered.wait(_LOOP_PATIENCE_S) or not taken[0]:
            raise ClientGoneError

    def _framed(self, part: bytes, *, is_last: bool) -> bytes:
        """The part as it is sent: behind the head if it is the first; in a chunk if no length was said."""
        head = b"" if self._is_begun else self._head()
        self._is_begun = True
        if not self._is_chunked:
            return head + part
        chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        return head + chunk + (b"0\r\n\r\n" if is_last else b"")

    def _head(self) -> bytes:
        request, headers = self._request, self._headers
        if not self._has_length():
            self._is_chunked = request.version == "1.1"
            if self._is_chunked:
                headers = [*headers, ("Transfer-Encoding", "chunked")]
            else:
                request.keeps = False  # its end is the connection's end
        reply = Reply(self._status, fields_of(headers) + request.answer_fields, b"")
        return reply.wire(closes=request.connection.closes_after(request))


def environ_of(request: Request) -> Environ:
    """The request as WSGI has it (PEP 3333). The body is whole, however it came."""
    prefix = os.environ.get("SCRIPT_NAME", "")
    host, port = request.connection.address
    environ: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": prefix,
        "PATH_INFO": unquote_to_bytes(request.path.removeprefix(prefix)).decode("latin1"),
        "QUERY_STRING": request.query,
        "RAW_URI": request.target.decode("latin1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": request.connection.peer[0],
        "REMOTE_PORT": str(request.connection.peer[1]),
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if request.is_secure else "http",
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.decode("latin1").upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value.decode("latin1")
        elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            environ[f"HTTP_{key}"] = value.decode("latin1")
    return environ
