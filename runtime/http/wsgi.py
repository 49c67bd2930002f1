"""A WSGI application in native threads, beside the loop: Django's pages.

The application may block its thread; it must not touch greenlets or the connection. An answer of up to
_WHOLE bytes is handed to the loop whole; a larger one part by part, each when the client has taken the one
before, so that a million rows need no memory. Meanwhile it has no thread: a client that reads slowly, or
never, holds up no other page. So two parts of one answer may be made in two threads, in the same context
(``contextvars``), and an application must keep no transaction, cursor or lock from one to the next. Django's
language and time zone stand in the context, but asgiref marks them with a thread: ``keeping`` is for them.
"""

from __future__ import annotations

import contextvars
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

import gevent
from gevent.threadpool import ThreadPool

from runtime.http.environ import Environ as Environ
from runtime.http.environ import environ_of
from runtime.http.reply import Reply, fields_of
from runtime.http.request import Request

log = logging.getLogger(__name__)

StartResponse = Any  # Django's stubs and PEP 3333 spell it differently
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
Refuse = Callable[[int, Mapping[bytes, bytes]], Reply]

#: Bytes. Less, and usual pages are handed over in parts, which costs a handover each; more, and each client
#: that reads nothing holds as much memory for half a minute (``WRITE_S``): thousands that ask for a public
#: file (Swagger's has 1.6 MB) fill it.
_WHOLE: Final = 131_072
_PART: Final = 65_536  #: bytes that are handed over at once: fewer cost more handovers
#: A request waits so long for a thread at most. Shorter, and pages are refused in a rush that threads get
#: through; longer, and a proxy (nginx: 60 s) gives up first, and the page is made for nobody.
LONGEST_WAIT_S: Final = 30.0
LOOK_EVERY_S: Final = 1.0  #: for those that have waited so long
#: Pages that are refused at once; the next ones after a pause. More, and where thousands wait claims wait for
#: all these refusals; fewer, and the last one is refused later.
REFUSED_AT_ONCE: Final = 200
_REFUSING_PAUSE_S: Final = 0.02
_WITHOUT_LENGTH: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"})


def _nothing() -> None: ...


def _keep_nothing() -> Callable[[], None]:
    return _nothing


class Pages:
    """Answers requests by a WSGI application, in ``threads`` threads. Made and called in the loop.

    ``refusal``: the answer where the application raises, which Django never does, or no thread is free for
    too long. ``going_on``: called in a thread before it goes on with an answer that another one began.
    ``keeping``: called in the thread that has made a part; what it returns is called in the one that makes
    the next part.
    """

    def __init__(
        self,
        application: WsgiApplication,
        *,
        threads: int,
        refusal: Refuse,
        going_on: Callable[[], None] = _nothing,
        keeping: Callable[[], Callable[[], None]] = _keep_nothing,
    ) -> None:
        self._application = application
        self._refusal = refusal
        self._going_on = going_on
        self._keeping = keeping
        # gevent's pool has its caller wait while all its threads are busy, and a caller in the hub cannot: it
        # raises. So answers wait here, and never more are in the pool than it takes at once.
        self._threads = ThreadPool(threads)
        self._free = threads
        self._waiting: deque[_Answer] = deque()  # bounded: a connection has one request at a time
        self._loop = gevent.get_hub().loop
        self._looking = self._loop.timer(LOOK_EVERY_S, LOOK_EVERY_S, ref=False)
        self._looking.start(self.refuse_late)
        self._refusing: Any = None  # the timer of those that are refused next

    def serve(self, request: Request) -> None:
        """In the loop's hub. Requests are served in their order, so many at once as there are threads."""
        self._queue(_Answer(request, self._application, self._keeping))

    def _queue(self, answer: _Answer) -> None:
        """An answer that goes on takes its turn behind those that wait."""
        self._waiting.append(answer)
        self._serve_next()

    def _serve_next(self) -> None:
        while self._free and self._waiting:
            answer = self._waiting.popleft()
            # A client may have gone while its request waited; an answer that was begun must be ended.
            if answer.is_begun or answer.request.connection.is_open:
                self._free -= 1
                # Not `apply`: no greenlet waits for the thread, which hands its part to the loop by itself.
                # The link is called once the pool has its place back.
                self._threads.spawn(self._work_on, answer).rawlink(self._one_is_free)

    def _one_is_free(self, _: object) -> None:
        """In the loop's hub."""
        self._free += 1
        self._serve_next()

    @property
    def waiting(self) -> int:
        """Pages that wait for a thread."""
        return len(self._waiting)

    def refuse_late(self) -> None:
        """In the loop's hub: those that have waited for too long."""
        since = time.monotonic() - LONGEST_WAIT_S
        everyone = (each for each in self._waiting if not each.is_begun and each.since < since)
        late = list(islice(everyone, REFUSED_AT_ONCE))
        if not late:
            return
        log.warning("no thread was free for %d pages for %.0f s", len(late), LONGEST_WAIT_S)
        gone = set(late)
        self._waiting = deque(each for each in self._waiting if each not in gone)
        for answer in late:
            answer.refuse(self._refusal(HTTPStatus.SERVICE_UNAVAILABLE, answer.request.headers))
        if len(late) == REFUSED_AT_ONCE:
            self._refusing = self._loop.timer(_REFUSING_PAUSE_S, ref=False)
            self._refusing.start(self.refuse_late)

    def _work_on(self, answer: _Answer) -> None:
        """In a thread of the pool."""
        in_loop = self._loop.run_callback_threadsafe
        try:
            if answer.is_begun:
                self._going_on()
            write = answer.step()
        except Exception:
            log.exception("%s %r cannot be answered", answer.request.method, answer.request.target)
            in_loop(answer.refuse, self._refusal(HTTPStatus.INTERNAL_SERVER_ERROR, answer.request.headers))
        else:
            in_loop(write, self._queue)


class _Answer:
    """One answer on its way from the application's threads to the loop.

    At any time one thread, or the loop, has it.
    """

    def __init__(
        self, request: Request, application: WsgiApplication, keeping: Callable[[], Callable[[], None]]
    ) -> None:
        self.request = request
        self.since = time.monotonic()  #: it waits
        self.is_begun = False  #: the client has the head
        self._application = application
        self._keeping, self._restore = keeping, _nothing
        self._context = contextvars.copy_context()
        self._chunks: Iterable[bytes] = ()
        self._left: Iterator[bytes] = iter(())
        self._is_gone = False  # the client does not take the rest
        self._status = HTTPStatus.INTERNAL_SERVER_ERROR
        self._headers: list[tuple[str, str]] = []
        self._is_chunked = False

    def step(self) -> Callable[[Callable[[_Answer], None]], None]:
        """In a thread: make the next part. Returns what has the loop write it; that gets ``Pages._queue``."""
        return self._context.run(self._step)

    def _step(self) -> Callable[[Callable[[_Answer], None]], None]:
        is_over = False
        self._restore()
        try:
            if not self.is_begun:
                self._chunks = self._application(environ_of(self.request), self._start_response)
                self._left = iter(() if self.request.method == "HEAD" else self._chunks)
            part, is_over = self._next_part() if not self._is_gone else (b"", True)
            if not is_over:
                self._restore = self._keeping()
        except BaseException:
            is_over = True
            raise
        finally:
            if is_over and hasattr(self._chunks, "close"):
                self._chunks.close()  # Django ends its request then, and gives its database connection back
        if self._is_gone:
            log.debug("%s is gone", self.request.connection.peer)
            return lambda queue: None
        if is_over and not self.is_begun:
            whole = self._whole(part)
            return lambda queue: self.request.answer(whole)
        data = self._framed(part, is_last=is_over)
        return lambda queue: self._write(data, queue, is_last=is_over)

    def _next_part(self) -> tuple[bytes, bool]:
        """As much as is handed over at once, and whether that is all."""
        parts, most = bytearray(), _PART if self.is_begun else _WHOLE
        for chunk in self._left:
            parts += chunk
            if len(parts) > most:
                return bytes(parts), False
        return bytes(parts), True

    def _write(self, data: bytes, queue: Callable[[_Answer], None], *, is_last: bool) -> None:
        """In the loop. Goes on, in whatever thread is free, once the client has taken it or is gone."""

        def then(is_taken: bool) -> None:
            if not is_last:
                self._is_gone = not is_taken
                queue(self)

        self.request.connection.write_part(self.request, data, then, is_last=is_last)

    def refuse(self, refusal: Reply) -> None:
        """In the loop. A client that has a part of its answer sees its connection end instead."""
        if self.is_begun:
            self.request.connection.close()
        else:
            self.request.answer(refusal)

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        self._status = HTTPStatus(int(status[:3]))
        self._headers = [each for each in headers if each[0].lower() not in _HOP_BY_HOP]

    def _has_length(self) -> bool:
        return any(name.lower() == "content-length" for name, _ in self._headers)

    def _whole(self, body: bytes) -> Reply:
        if self._has_length() or self._status in _WITHOUT_LENGTH or self.request.method == "HEAD":
            return Reply(self._status, fields_of(self._headers), body)
        return Reply.of(self._status, body, self._headers)

    def _framed(self, part: bytes, *, is_last: bool) -> bytes:
        """The part as it is sent: behind the head if it is the first; in a chunk if no length was said."""
        head = b"" if self.is_begun else self._head()
        self.is_begun = True
        if not self._is_chunked:
            return head + part
        chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        return head + chunk + (b"0\r\n\r\n" if is_last else b"")

    def _head(self) -> bytes:
        request, headers = self.request, self._headers
        if not self._has_length():
            self._is_chunked = request.version == "1.1"
            if self._is_chunked:
                headers = [*headers, ("Transfer-Encoding", "chunked")]
            else:
                request.keeps = False  # its end is the connection's end
        reply = Reply(self._status, fields_of(headers) + request.answer_fields, b"")
        return reply.wire(closes=request.connection.closes_after(request))
