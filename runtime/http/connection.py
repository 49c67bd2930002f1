"""One client: its requests in order, one answer after the other."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from runtime.http.parsing import Parser
from runtime.http.reply import Reply
from runtime.http.request import Request

if TYPE_CHECKING:
    from runtime.http.server import Server

log = logging.getLogger(__name__)

_READ_AT_ONCE: Final = 65_536  #: bytes: a bound on what one client makes us parse at once
#: A head must come within this. Shorter, and slow phones are cut off; longer, and clients that send nothing
#: hold connections.
HEAD_S: Final = 10.0
#: So much longer for a body, and a second more for each SLOWEST_BYTES_PER_S that the route allows.
BODY_S: Final = 10.0
SLOWEST_BYTES_PER_S: Final = 50_000
#: Each part of an answer must be taken within this, and a second more for each SLOWEST_BYTES_PER_S of it.
#: Shorter, and slow clients lose a large page; longer, and clients that read nothing hold connections.
WRITE_S: Final = 30.0
#: The client of a refused request may still be sending, and would see a reset instead of its answer: what it
#: sends is dropped for so long and so many bytes.
_LINGER_S: Final = 10.0
_LINGER_BYTES: Final = 32 * 1024 * 1024
#: Requests that a client may send ahead of their answers. More of them stay in the kernel's buffer.
_MOST_AHEAD: Final = 100
_NEVER: Final = float("inf")
_READABLE, _WRITABLE = 1, 2  # libev's EV_READ and EV_WRITE
_GO_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection:
    """Belongs to the server's loop: all methods run in its hub or its greenlets, and none waits."""

    __slots__ = (
        "_at_hand",
        "_dropped",
        "_has_ended",
        "_is_ending",
        "_is_handing_over",
        "_lingers",
        "_parser",
        "_reading",
        "_request_since",
        "_server",
        "_socket",
        "_then",
        "_unsent",
        "_writing",
        "address",
        "deadline",
        "idle_since",
        "is_open",
        "is_trusted",
        "peer",
    )

    def __init__(self, server: Server, client: socket.socket, address: Any, peer: Any) -> None:
        self.address = address  #: of the listener: host and port
        self.peer = peer  #: host and port
        self.is_trusted = server.trusts(peer)  #: it is a proxy of ours
        self.is_open = True
        self.deadline = _NEVER  #: by the monotonic clock: then the server calls ``expire``
        self.idle_since = 0.0
        self._server = server
        self._socket = client
        self._parser = Parser(self, server.application.longest_body)
        self._at_hand: Request | None = None  #: the application has it, and has not answered
        self._is_handing_over = False
        self._has_ended = False  #: the client sends no more
        self._request_since: float | None = None  #: since when a part of a request is here
        self._is_ending = False  #: nothing more is written after ``_unsent``
        self._lingers = False
        self._dropped: int | None = None  #: bytes, since the last answer is written
        self._unsent = b""
        self._then: Callable[[bool], None] | None = None
        self._reading = server.loop.io(client.fileno(), _READABLE)
        self._writing = server.loop.io(client.fileno(), _WRITABLE)
        self._reading.start(self._on_readable)
        self._be_idle()

    # Reading

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(_READ_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # reset by the client
            self.close()
            return
        if self._dropped is not None:
            self._drop(data)
            return
        if data:
            self._parser.feed(data)
        else:
            self._has_ended = True
        if not data or self._parser.is_at_end or len(self._parser.requests) > _MOST_AHEAD:
            self._reading.stop()
        self._go_on()

    def _drop(self, data: bytes) -> None:
        self._dropped = (self._dropped or 0) + len(data)
        if not data or self._dropped > _LINGER_BYTES:
            self.close()

    def _go_on(self) -> None:
        """Hand requests to the application while it answers at once; then wait for what comes."""
        if self._is_handing_over:
            return
        self._is_handing_over = True
        requests = self._parser.requests
        while requests and self._is_free():
            self._hand_over(requests.popleft())
        self._is_handing_over = False
        if self._is_free():
            self._wait()

    def _is_free(self) -> bool:
        return self._at_hand is None and not self._unsent and not self._is_ending and self.is_open

    def _hand_over(self, request: Request) -> None:
        self._at_hand = request
        self._request_since = None
        self.deadline = _NEVER
        self._server.idle.pop(self, None)
        try:
            self._server.application.serve(request)
        except Exception:
            log.exception("%s %r cannot be served", request.method, request.target)
            status, request.answer_fields = HTTPStatus.INTERNAL_SERVER_ERROR, b""
            self.answer(request, self._server.application.refusal(status, request.headers))

    def _wait(self) -> None:
        """All that could be read is answered."""
        if self._parser.refused is not None:
            self._refuse(self._parser.refused)
        elif self._has_ended:
            self.close()
        else:
            if not self._reading.active:
                self._reading.start(self._on_readable)
            if self._parser.is_in_request:
                self._wait_for_the_rest()
            else:
                self._be_idle()

    def _wait_for_the_rest(self) -> None:
        if self._request_since is None:
            self._request_since = time.monotonic()
            self._server.idle.pop(self, None)
        self.deadline = self._request_since + HEAD_S
        if longest := self._parser.longest_body:
            self.deadline += BODY_S + longest / SLOWEST_BYTES_PER_S
        if self._parser.is_asked_to_go_on:
            self._parser.is_asked_to_go_on = False
            self._write(_GO_ON)

    def _be_idle(self) -> None:
        self.idle_since = time.monotonic()
        self.deadline = self.idle_since + self._server.keepalive_s
        self._server.idle[self] = None

    # Answering

    def answer(self, request: Request, reply: Reply) -> None:
        """Write the answer to the request at hand."""
        if request is self._at_hand and self.is_open:  # else its client is gone
            closes = self.closes_after(request)
            has_no_body = request.method == "HEAD"
            self._write(reply.wire(closes=closes, has_no_body=has_no_body, more=request.answer_fields))
            self._end_answer(request, closes=closes)

    def write_part(
        self, request: Request, data: bytes, then: Callable[[bool], None], *, is_last: bool
    ) -> None:
        """Write a part of an answer. ``then`` is told, once, whether the client took it."""
        if request is not self._at_hand or not self.is_open:
            then(False)
            return
        self._then = then
        self._write(data)
        if not self._unsent:
            self._tell(self.is_open)
        if is_last and self.is_open:
            self._end_answer(request, closes=self.closes_after(request))

    def closes_after(self, request: Request) -> bool:
        return not request.keeps or request.is_too_long or self._server.is_stopping

    def _end_answer(self, request: Request, *, closes: bool) -> None:
        self._at_hand = None
        self._server.answered += 1
        if closes:
            self._end(lingers=request.is_too_long)
        else:
            self._go_on()

    def _refuse(self, status: HTTPStatus) -> None:
        refusal = self._server.application.refusal(status, self._parser.headers)
        self._write(refusal.wire(closes=True))
        self._end(lingers=True)

    def _write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # the client is gone
            self.close()
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self.deadline = time.monotonic() + WRITE_S + len(data) / SLOWEST_BYTES_PER_S
            self._writing.start(self._on_writable)

    def _on_writable(self) -> None:
        """The deadline stands, whatever is taken: who takes a byte now and then has no more time."""
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # the client is gone
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            return
        self._writing.stop()
        self.deadline = _NEVER
        self._tell(True)
        if self._is_ending:
            self._finish()
        else:
            self._go_on()

    def _tell(self, is_taken: bool) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(is_taken)

    # Ending

    def _end(self, *, lingers: bool) -> None:
        self._is_ending, self._lingers = True, lingers
        if not self._unsent and self.is_open:
            self._finish()

    def _finish(self) -> None:
        if not self._lingers:
            self.close()
            return
        self._dropped = 0
        self.deadline = time.monotonic() + _LINGER_S
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        if self._has_ended:
            self.close()
        elif not self._reading.active:
            self._reading.start(self._on_readable)

    def expire(self) -> None:
        """Its deadline is over: a request that came in part is told so."""
        if self._request_since is not None and self._is_free():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.close()

    def close_if_quiet(self) -> bool:
        """Close, unless the client has sent something that was not read yet."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self.close()
        except OSError:
            self.close()
        return not self.is_open

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._reading.close()
            self._writing.close()
            self._socket.close()
            self._tell(False)
            self._server.forget(self)
